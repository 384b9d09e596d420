// Where weights were saved, on the x axis: from each of them a new run can start, by a click; the right button has more.
// The same on the curve that is pointed at.
import { memo, useMemo } from 'react';
import type { CheckpointMark, RunRow } from '../../api/types';
import { type XAxis, openNewRun, openRun } from '../../app/view';
import type { Laid } from '../../chart/plot';
import { share } from '../../chart/scale';
import { type MenuItem, showMenu } from '../../parts/Menu';
import { names } from '../../parts/names';
import css from './Charts.module.css';
import type { RunSeries } from './series';

const BUCKET_PX = 10;
const MOST_IN_MENU = 10;

interface Saved {
  row: RunRow;
  mark: CheckpointMark;
}

interface Place {
  left: number;
  all: (Saved & { left: number })[];
}

interface WeightMarksProps {
  laid: Laid;
  rows: readonly RunRow[];
  series: ReadonlyMap<string, RunSeries>;
  x: XAxis;
  hot: string | null;
  /** Another number when other series are held. */
  generation: number;
}

export const WeightMarks = memo(function WeightMarks(props: WeightMarksProps) {
  const { laid, rows, series, x, hot, generation } = props;
  const places = useMemo(() => {
    const found = new Map<number, Place>();
    for (const row of rows) {
      const held = series.get(row.name);
      // A run whose series is there, but empty, may yet log this metric: it has no curve to mark.
      if (!held?.length) continue;
      for (const mark of held.marks) {
        const at = held.markX(mark, x);
        if (at === null || at < laid.x.from || at > laid.x.to || (laid.x.isLog && at <= 0)) continue;
        const left = share(laid.x, at) * laid.width;
        const bucket = Math.round(left / BUCKET_PX);
        const place = found.get(bucket) ?? { left, all: [] };
        place.all.push({ row, mark, left });
        found.set(bucket, place);
      }
    }
    return [...found.entries()].sort(([a], [b]) => a - b);
    // The map is changed in place: its generation says when.
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, [rows, series, generation, laid, x]);
  if (places.length === 0) return null;
  return (
    <div className={css.marks} style={{ left: laid.left, top: laid.top + laid.height, width: laid.width }}>
      {places.map(([bucket, { left, all }]) => {
        const ofHot = all.filter(({ row }) => row.name === hot);
        const shown = ofHot.length ? ofHot : all;
        const isFaded = hot !== null && ofHot.length === 0 && rows.some((row) => row.name === hot);
        const isBest = shown.some(({ mark }) => mark.is_best);
        const colours = new Set(shown.map(({ row }) => row.colour));
        const label = all.length === 1 ? `Weights ${all[0]!.mark.reference}` : `Weights of ${all.length} checkpoints`;
        const open = (event: React.MouseEvent<HTMLButtonElement>) => {
          const strip = event.currentTarget.parentElement!.getBoundingClientRect();
          openMark(nearest(shown, event.clientX - strip.left), event);
        };
        return (
          <button
            key={bucket}
            type="button"
            tabIndex={-1}
            aria-haspopup={shown.length === 1 ? undefined : 'menu'}
            aria-label={label}
            data-tip={`${label}${isBest ? ' (best)' : ''}: new run from here`}
            className={names(css.mark, isFaded && css.faded, isBest && css.best)}
            style={{ left, color: colours.size === 1 ? `var(--run-${shown[0]!.row.colour})` : 'var(--soft)' }}
            onClick={open}
            onContextMenu={open}
          >
            <svg width="11" height="10" viewBox="0 0 11 10" aria-hidden="true">
              <path d="M5.5 1L10 9H1z" />
            </svg>
          </button>
        );
      })}
    </div>
  );
});

/** Those that lie where the pointer is: several only where they coincide. */
function nearest(all: Place['all'], left: number): Saved[] {
  const away = all.map((one) => Math.abs(one.left - left));
  const least = all[away.indexOf(Math.min(...away))]!;
  return all.filter((one) => Math.abs(one.left - least.left) < 1);
}

/** A click on one begins a new run; the right button, and a click on several, ask what is meant. */
export function openMark(all: readonly Saved[], event: React.MouseEvent | MouseEvent): void {
  event.preventDefault();
  event.stopPropagation();
  const [only] = all;
  if (event.type === 'click' && all.length === 1) begin(only!.row, only!.mark, 'weights')();
  else showMenu(event, only!.mark.reference, itemsOf(all));
}

const begin = (row: RunRow, mark: CheckpointMark, how: 'weights' | 'fork') => () =>
  openNewRun({ run: row.name, parent: mark.reference, how });

/** What can be begun at a mark: for one checkpoint all of it, for several one line each. */
function itemsOf(all: readonly Saved[]): MenuItem[] {
  if (all.length === 1) {
    const { row, mark } = all[0]!;
    const words = [mark.is_best && 'best', mark.is_last && 'last'].filter(Boolean).join(', ');
    return [
      { text: `${mark.reference}${words ? ` (${words})` : ''}`, isTitle: true },
      { text: 'New run from here', icon: 'weights', run: begin(row, mark, 'weights') },
      { text: 'Fork: go on with another config', icon: 'fork', run: begin(row, mark, 'fork') },
      {
        text: 'Copy the reference',
        icon: 'copy',
        line: true,
        run: () => void navigator.clipboard.writeText(mark.reference),
      },
      { text: 'Its weights', icon: 'eye', run: () => openRun(row.name, 'weights') },
    ];
  }
  const sorted = [...all].sort((a, b) => Number(b.mark.is_best) - Number(a.mark.is_best));
  return [
    { text: 'New run from here', isTitle: true },
    ...sorted.slice(0, MOST_IN_MENU).map(({ row, mark }): MenuItem => ({
      text: `${mark.reference}${mark.is_best ? ' (best)' : ''}`,
      icon: 'weights',
      run: begin(row, mark, 'weights'),
    })),
    ...(all.length > MOST_IN_MENU ? [{ text: `${all.length - MOST_IN_MENU} more: zoom in`, isTitle: true }] : []),
  ];
}
