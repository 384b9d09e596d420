// A chart in numbers.
import type { RunRow } from '../../api/types';
import { Dialog } from '../../parts/Dialog';
import { RunMark } from '../../parts/RunMark';
import { count, exact, number } from '../../parts/format';
import css from './Charts.module.css';
import type { RunSeries } from './series';

export function ChartTable({
  metric,
  rows,
  series,
  onClose,
}: {
  metric: string;
  rows: readonly RunRow[];
  series: ReadonlyMap<string, RunSeries>;
  onClose: () => void;
}) {
  return (
    <Dialog title={metric} width={760} onClose={onClose}>
      <table className={css.table}>
        <thead>
          <tr>
            {['run', 'points', 'last step', 'first', 'lowest', 'highest', 'last'].map((title) => (
              <th key={title} scope="col">
                {title}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => {
            const curve = series.get(row.name)?.curves('step', null).main;
            if (!curve || curve.length === 0) return null;
            let [low, high] = [Infinity, -Infinity];
            for (let i = 0; i < curve.length; i++) {
              const value = curve.y[i]!;
              if (value < low) low = value;
              if (value > high) high = value;
            }
            const last = curve.length - 1;
            return (
              <tr key={row.name}>
                <th scope="row">
                  <RunMark colour={row.colour} mark={row.mark} /> {row.name}
                </th>
                <td>{count(curve.length)}</td>
                <td>{count(curve.x[last]!)}</td>
                {[curve.y[0]!, low, high, curve.y[last]!].map((value, at) => (
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
