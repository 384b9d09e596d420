// From the series of runs to the lines of a chart: one colour for life, a dash where a colour comes again.
import type { RunRow } from '../../api/types';
import type { XAxis } from '../../app/view';
import type { Line } from '../../chart/line';
import type { RunSeries } from './series';

/** One a mark, and again where a colour comes again. */
export const DASHES: readonly (readonly number[])[] = [[], [7, 4], [2, 3], [9, 3, 2, 3]];

export function linesOf(
  names: readonly string[],
  rows: readonly RunRow[],
  series: ReadonlyMap<string, RunSeries>,
  other: ReadonlyMap<string, RunSeries> | null,
  x: XAxis,
  palette: readonly string[],
  faded: string,
): Line[] {
  const known = new Map(rows.map((row) => [row.name, row]));
  const times = new Map<number, number>();
  const before: Line[] = [];
  const lines: Line[] = [];
  for (const name of names) {
    const row = known.get(name);
    if (!row) continue;
    const time = times.get(row.colour) ?? 0;
    times.set(row.colour, time + 1);
    const held = series.get(name);
    if (!held) continue;
    const { main, abandoned } = held.curves(x, other?.get(name) ?? null);
    abandoned.forEach((curve, at) =>
      before.push({ id: `${name} before attempt ${at + 2}`, curve, colour: faded, dash: [], isBackground: true }),
    );
    lines.push({
      id: name,
      curve: main,
      colour: palette[row.colour] ?? faded,
      dash: DASHES[time % DASHES.length]!,
      isOpen: row.state === 'running',
      saved: held.marks.map((mark) => held.markX(mark, x)),
    });
  }
  return [...before, ...lines.reverse()];
}
