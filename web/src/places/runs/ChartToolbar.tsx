// How all charts are drawn: smoothing, axes, bands, how many a row.
import type { MetricColumn } from '../../api/types';
import { type XAxis, changeView, useView } from '../../app/view';
import { Button, Kbd, Segmented } from '../../parts/Button';
import { Checkbox, Field } from '../../parts/Field';
import css from './Charts.module.css';
import { isZoomed, resetZoom } from './zoom';

const X_NAMES: Record<string, string> = {
  step: 'step',
  time: 'time since start',
  clock: 'wall clock',
  root: 'steps since root',
};

interface ChartToolbarProps {
  metrics: readonly MetricColumn[];
  text: string;
  onText: (text: string) => void;
  isPanel: boolean;
  isGrouped: boolean;
}

export function ChartToolbar({ metrics, text, onText, isPanel, isGrouped }: ChartToolbarProps) {
  const [view] = useView();
  return (
    <div className={css.toolbar} role="toolbar" aria-label="Charts">
      {isGrouped && (
        <Segmented
          label="Curves of groups"
          value={view.each ? 'each' : 'mean'}
          options={[
            { value: 'mean', text: 'Mean ± std', tip: 'One curve a group  M' },
            { value: 'each', text: 'Each run', tip: 'One curve a run  M' },
          ]}
          onChange={(curves) => changeView({ each: curves === 'each' })}
        />
      )}
      <label className={css.smooth} data-tip="Smoothing: a moving average over all points  ,  .">
        Smooth
        <input
          type="range"
          min="0"
          max="0.99"
          step="0.01"
          value={view.smooth}
          onChange={(event) => changeView({ smooth: Number(event.target.value) }, true)}
        />
        <output>{view.smooth ? view.smooth.toFixed(2) : 'off'}</output>
      </label>
      <label className={css.axis}>
        <span>x</span>
        <select
          aria-label="X axis"
          value={view.x}
          onChange={(event) => changeView({ x: event.target.value as XAxis, zoom: null })}
        >
          {Object.entries(X_NAMES).map(([x, name]) => (
            <option key={x} value={x}>
              {name}
            </option>
          ))}
          <optgroup label="a metric">
            {metrics.slice(0, 60).map(({ key }) => (
              <option key={key} value={`m:${key}`}>
                {key}
              </option>
            ))}
          </optgroup>
        </select>
      </label>
      <Checkbox label={<>Log y</>} tip="Log y  L" checked={view.logY} onChange={(logY) => changeView({ logY })} />
      <Checkbox label="Log x" checked={view.logX} onChange={(logX) => changeView({ logX, zoom: null })} />
      {(view.smooth > 0 || (isGrouped && !view.each)) && (
        <Checkbox
          label="Band"
          tip={
            isGrouped && !view.each
              ? 'One standard deviation about the mean  B'
              : 'The range of what was smoothed, behind it  B'
          }
          checked={view.band}
          onChange={(band) => changeView({ band })}
        />
      )}
      {isZoomed(view) && (
        <Button size="small" onClick={resetZoom}>
          Reset zoom <Kbd keys="0" />
        </Button>
      )}
      <div className={css.right}>
        {metrics.length > 4 && (
          <Field
            label="Find a metric"
            quiet
            placeholder="Find a metric"
            className={css.find}
            value={text}
            onChange={(event) => onText(event.target.value)}
          />
        )}
        {!isPanel && (
          <Segmented
            label="Charts in a row"
            value={String(view.perRow) as '1' | '2' | '3'}
            options={(['1', '2', '3'] as const).map((n) => ({ value: n, text: n, tip: `${n} in a row` }))}
            onChange={(n) => changeView({ perRow: Number(n) as 1 | 2 | 3 })}
          />
        )}
      </div>
    </div>
  );
}
