// The checkpoints of a run: what each can do for the next one.
import { act } from '../app/actions';
import { go } from '../app/url';
import { openNewRun } from '../app/view';
import { Button, IconButton } from '../parts/Button';
import { Copy } from '../parts/Copy';
import { Empty } from '../parts/Empty';
import { ago, bytes, count, moment, value } from '../parts/format';
import type { Value } from '../api/types';
import css from './Panel.module.css';
import type { Detail } from './useDetail';

export function WeightsTab({ detail }: { detail: Detail }) {
  if (detail.checkpoints.length === 0) {
    return (
      <Empty
        title="No weights yet"
        text="Two lines keep every model together with the config that made it:"
        command={'saver = hypertuner.Saver(model, monitor="val_loss")\nsaver.save(step)'}
      />
    );
  }
  const metrics = [...new Set(detail.checkpoints.flatMap((one) => Object.keys(one.metrics)))].slice(0, 3);
  const rows = [...detail.checkpoints].reverse();
  return (
    <div className={css.padded}>
      <table className={css.table}>
        <thead>
          <tr>
            <th scope="col">step</th>
            <th scope="col">
              <span className="unseen">role</span>
            </th>
            {metrics.map((metric) => (
              <th key={metric} scope="col" className={css.right}>
                {metric}
              </th>
            ))}
            <th scope="col" className={css.right}>
              size
            </th>
            <th scope="col">saved</th>
            <th scope="col">
              <span className="unseen">to do</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {rows.map((one) => (
            <tr key={one.reference}>
              <th scope="row">
                <button
                  type="button"
                  className={css.link}
                  onClick={() => go({ model: one.reference, run: null, tab: null }, { place: 'models' })}
                >
                  {count(one.step)}
                </button>
              </th>
              <td className={css.soft}>
                {[
                  one.is_best && 'best',
                  one.is_last && 'last',
                  one.is_offered && 'model.pt',
                  one.is_pinned && 'pinned',
                  !one.has_training && 'weights only',
                ]
                  .filter(Boolean)
                  .join(' · ')}
                {one.problem && <span className={css.problem}>{one.problem}</span>}
              </td>
              {metrics.map((metric) => (
                <td key={metric} className={css.right}>
                  {value(one.metrics[metric] as Value | undefined)}
                </td>
              ))}
              <td className={css.right}>{bytes(one.nbytes)}</td>
              <td className={css.soft} data-tip={one.saved_at === null ? undefined : moment(one.saved_at)}>
                {one.saved_at === null ? '' : ago(one.saved_at)}
              </td>
              <td className={css.rowActions}>
                <IconButton
                  icon="pin"
                  label={one.is_pinned ? 'Unpin: cleaning may remove it' : 'Pin: cleaning never removes it'}
                  isOn={one.is_pinned}
                  onClick={() => void act(one.is_pinned ? 'unpin' : 'pin', [], { references: [one.reference] })}
                />
                <Button
                  size="small"
                  icon="weights"
                  disabled={one.problem !== null}
                  onClick={() => openNewRun({ run: one.run, parent: one.reference })}
                >
                  New run
                </Button>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
      {detail.load_code && (
        <div className={css.code}>
          <pre tabIndex={0}>{detail.load_code}</pre>
          <Copy text={detail.load_code} label="Copy the code that loads it" />
        </div>
      )}
    </div>
  );
}
