// What a chart says beside its name: at the crosshair what is read there, else the best of the runs, or which groups.
import { type Store, useStore } from '../../api/store';
import type { MetricColumn, RunRow } from '../../api/types';
import type { Reading } from '../../chart/plot';
import { RunMark } from '../../parts/RunMark';
import { exact, number, plural } from '../../parts/format';
import { names } from '../../parts/names';
import css from './Charts.module.css';
import type { GroupMean } from './means';
import type { MetricSeries } from './watched';

/** Of more groups there is room for their number alone: the table beside has the looks of all. */
const MOST_NAMED = 4;

interface ReadoutProps {
  reading: Store<Reading | null>;
  rows: readonly RunRow[];
  seen: MetricSeries;
  metric: string;
  column: MetricColumn | undefined;
  count: number;
}

/** At the crosshair: the run, the exact logged value, its step. Else the best of the runs that are shown. */
export function Readout({ reading, rows, seen, metric, column, count }: ReadoutProps) {
  const now = useStore(reading);
  const row = now ? rows.find((one) => one.name === now.id) : undefined;
  const series = now ? seen.series.get(now.id) : undefined;
  if (now && row && series) {
    const { step, value } = series.at(now.index);
    return (
      <div className={css.readout}>
        <RunMark colour={row.colour} mark={row.mark} />
        <span className={css.who}>{row.name}</span>
        <b>{exact(value)}</b>
        <span className={css.at}>at {number(step)}</span>
      </div>
    );
  }
  const best = column?.direction ? bestOf(rows, metric, column.direction) : null;
  if (!best || count < 2) return <div className={css.readout}>{plural(count, 'run')}</div>;
  return (
    <div
      className={css.readout}
      data-tip={`The ${column?.direction === 'min' ? 'lowest' : 'highest'} value of these ${count} runs`}
    >
      <span className={css.at}>best</span>
      <RunMark colour={best.row.colour} mark={best.row.mark} />
      <span className={css.who}>{best.row.name}</span>
      <b>{number(best.value)}</b>
    </div>
  );
}

/** At the crosshair: the group, its mean and spread there, and of how many runs. Else the groups, as a legend. */
export function GroupReadout({ reading, means }: { reading: Store<Reading | null>; means: readonly GroupMean[] }) {
  const now = useStore(reading);
  const found = now && means.find(({ group }) => group.id === now.id);
  const at = now?.index ?? -1;
  if (found && at < found.mean.curve.length) {
    const { group, mean, runs } = found;
    const count = mean.count[at]!;
    return (
      <div className={css.readout}>
        <RunMark {...group.look} />
        <span className={css.who}>{group.name}</span>
        <b>
          {number(mean.curve.y[at]!)}
          {count > 1 && ` ± ${number(Number(mean.std[at]!.toPrecision(2)))}`}
        </b>
        <span className={css.at}>
          at {number(mean.curve.x[at]!)}, {count < runs ? `${count} of ${plural(runs, 'run')}` : plural(runs, 'run')}
        </span>
      </div>
    );
  }
  const all = means.map(({ group, runs }) => `${group.name}: ${plural(runs, 'run')}`).join('\n');
  return (
    <div className={names(css.readout, css.legends)} data-tip={`Mean ± standard deviation\n${all}`}>
      {means.length > MOST_NAMED && <span>{means.length} groups</span>}
      {(means.length > MOST_NAMED ? [] : means).map(({ group, runs }) => (
        <span key={group.id} className={css.legend}>
          <RunMark {...group.look} />
          <span className={css.who}>{group.values}</span>
          <span className={css.at}>×{runs}</span>
        </span>
      ))}
    </div>
  );
}

function bestOf(
  rows: readonly RunRow[],
  metric: string,
  direction: 'min' | 'max',
): { row: RunRow; value: number } | null {
  let best: { row: RunRow; value: number } | null = null;
  for (const row of rows) {
    const value = (direction === 'min' ? row.lowest : row.highest)[metric];
    if (typeof value !== 'number') continue;
    if (!best || (direction === 'min' ? value < best.value : value > best.value)) best = { row, value };
  }
  return best;
}
