// A chart in numbers: a line a run, or a group.
import type { RunRow } from '../../api/types';
import type { Curve } from '../../chart/curve';
import { Dialog } from '../../parts/Dialog';
import { RunMark } from '../../parts/RunMark';
import { count, exact, number } from '../../parts/format';
import css from './Charts.module.css';
import { type RunGroup, meansOf } from './means';
import type { RunSeries } from './series';

interface ChartTableProps {
  metric: string;
  rows: readonly RunRow[];
  /** null: runs are not grouped. */
  groups: readonly RunGroup[] | null;
  series: ReadonlyMap<string, RunSeries>;
  onClose: () => void;
}

interface Entry {
  name: string;
  look: { colour: number; mark: number };
  curve: Curve | undefined;
  /** Of the group: how many runs, and the standard deviation at its end. */
  more: number[];
}

const TITLES = ['points', 'last step', 'first', 'lowest', 'highest', 'last'];

export function ChartTable({ metric, rows, groups, series, onClose }: ChartTableProps) {
  const entries = groups
    ? meansOf(groups, series, null, 'step').map(({ group, mean, runs }): Entry => ({
        ...group,
        curve: mean.curve,
        more: [mean.std[mean.std.length - 1]!, runs],
      }))
    : rows.map(({ name, colour, mark }): Entry => ({
        name,
        look: { colour, mark },
        curve: series.get(name)?.curves('step', null).main,
        more: [],
      }));
  const titles = groups ? ['mean of', ...TITLES, 'std', 'runs'] : ['run', ...TITLES];
  return (
    <Dialog title={metric} width={760} onClose={onClose}>
      <table className={css.table}>
        <thead>
          <tr>
            {titles.map((title) => (
              <th key={title} scope="col">
                {title}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {entries.map(({ name, look, curve, more }) => {
            if (!curve || curve.length === 0) return null;
            let [low, high] = [Infinity, -Infinity];
            for (let i = 0; i < curve.length; i++) {
              const value = curve.y[i]!;
              if (value < low) low = value;
              if (value > high) high = value;
            }
            const last = curve.length - 1;
            return (
              <tr key={name}>
                <th scope="row">
                  <RunMark {...look} /> {name}
                </th>
                <td>{count(curve.length)}</td>
                <td>{count(curve.x[last]!)}</td>
                {[curve.y[0]!, low, high, curve.y[last]!, ...more].map((value, at) => (
                  <td key={at} data-tip={exact(value)}>
                    {number(value)}
                  </td>
                ))}
              </tr>
            );
          })}
        </tbody>
      </table>
    </Dialog>
  );
}
