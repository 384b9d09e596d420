// Which settings went with good runs: over the runs of the query that all four places share.
import { useState } from 'react';
import { QueryBar } from '../app/QueryBar';
import { useKeys } from '../app/keys';
import { openNewRun, useView } from '../app/view';
import { Button, Segmented } from '../parts/Button';
import { Empty } from '../parts/Empty';
import { Select } from '../parts/Field';
import { count, plural } from '../parts/format';
import { showMenu } from '../parts/Menu';
import { wordOf } from './insight/axes';
import { Diff } from './insight/Diff';
import css from './insight/Insight.module.css';
import { Matter } from './insight/Matter';
import { Parallel } from './insight/Parallel';
import { Scatter } from './insight/Scatter';
import { type Insight as Shown, useInsight } from './insight/useInsight';

export function Insight() {
  return (
    <div className={css.withQuery}>
      <QueryBar />
      <OfQuery />
    </div>
  );
}

function OfQuery() {
  const { insight, refusal } = useInsight();
  const [view, change] = useView();
  if (refusal && !insight) {
    return (
      <Empty title="This query cannot be answered" text={refusal.status === 400 ? undefined : refusal.message}>
        <Button onClick={() => change({ query: '' })}>Clear the filter</Button>
      </Empty>
    );
  }
  if (!insight) return null;
  if (insight.axes.length < 2 || insight.names.length < 2) {
    return view.query && insight.names.length < 2 ? (
      <Empty title="Fewer than two runs pass the filter">
        <Button onClick={() => change({ query: '' })}>Clear the filter</Button>
      </Empty>
    ) : (
      <Empty
        title="Nothing to compare yet"
        text="Insight shows which settings went with good runs. It needs at least two runs with different settings and one metric. Several values in one field make several runs:"
        command="hypertuner run train.py lr=0.1,0.01,0.001 --queue"
      >
        <Button kind="primary" onClick={() => openNewRun()}>
          New run
        </Button>
      </Empty>
    );
  }
  return <Whole insight={insight} />;
}

function Whole({ insight }: { insight: Shown }) {
  const [hovered, setHovered] = useState<number | null>(null);
  const { target, brushes } = insight;
  const passing = insight.isIn.filter(Boolean).length;
  useKeys('insight', brushes.size ? { clear: insight.clearBrushes } : null);
  const shown = insight.axes.filter((axis) => axis.name !== target?.name).map((axis) => axis.name);
  const run = hovered === null ? null : insight.names[hovered];
  return (
    <div className={css.place}>
      <div className={css.bar}>
        <span className={css.soft}>metric</span>
        <Select
          quiet
          label="Metric"
          value={target?.title ?? ''}
          options={insight.metrics.map((one) => ({ value: one.key, text: one.key }))}
          onChange={insight.setTarget}
        />
        {target && (
          <Segmented
            label="Which way is better"
            value={target.direction}
            options={[
              { value: 'min', text: 'lowest' },
              { value: 'max', text: 'highest' },
            ]}
            onChange={insight.setDirection}
          />
        )}
        <span role="status">
          {brushes.size
            ? `${count(passing)} of ${plural(insight.names.length, 'run')}`
            : plural(insight.names.length, 'run')}
          {insight.matched > insight.names.length && (
            <span className={css.soft}> (the newest of {insight.matched.toLocaleString('en-US')})</span>
          )}
        </span>
        {brushes.size > 0 && (
          <Button size="small" keys="0" onClick={insight.clearBrushes}>
            Clear
          </Button>
        )}
        <span className={css.hover} aria-hidden="true">
          {run && hovered !== null && (
            <>
              <b>{run}</b>{' '}
              {insight.axes
                .slice(-6)
                .map((axis) => `${axis.title} ${wordOf(insight.values.get(axis.name)?.[hovered])}`)
                .join('  ')}
            </>
          )}
        </span>
        <Button
          size="small"
          icon="columns"
          onClick={(event) =>
            showMenu(
              event.currentTarget,
              'Axes',
              insight.settings.map((one) => ({
                text: one.title,
                isOn: shown.includes(one.name),
                run: () =>
                  insight.setShown(
                    shown.includes(one.name) ? shown.filter((name) => name !== one.name) : [...shown, one.name],
                  ),
              })),
            )
          }
        >
          Axes {shown.length} of {insight.settings.length}
        </Button>
      </div>
      <Matter insight={insight} />
      <Parallel insight={insight} hovered={hovered} onHover={setHovered} />
      <Diff insight={insight} />
      <Scatter insight={insight} hovered={hovered} onHover={setHovered} />
    </div>
  );
}
