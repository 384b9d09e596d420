// The points of runs: read as raw columns, and grown by what the live stream says, with nothing lost and nothing twice.
import type { CheckpointMark, Points, Segment, SeriesAnswer, SeriesHeader } from '../../api/types';
import { Curve } from '../../chart/curve';
import type { XAxis } from '../../app/view';

export interface Columns {
  header: SeriesHeader;
  step: Float64Array;
  time: Float64Array;
  value: Float64Array;
}

/** The body of GET /api/series: u32 length of the header, the header, then the columns of each series; steps have none
 * where two numbers tell them. */
export function decode(body: ArrayBuffer): { series: Columns[]; missing: string[] } {
  const length = new DataView(body).getUint32(0, true);
  const answer = JSON.parse(new TextDecoder().decode(new Uint8Array(body, 4, length))) as SeriesAnswer;
  let at = 4 + length;
  const column = (points: number) => {
    const bytes = points * 8;
    // What begins off a multiple of 8 cannot be looked at in place.
    const view = at % 8 === 0 ? new Float64Array(body, at, points) : new Float64Array(body.slice(at, at + bytes));
    at += bytes;
    return view;
  };
  // Runs that are compared have mostly logged at the same steps: they share them.
  const even = new Map<string, Float64Array>();
  const stepsOf = ({ points, even_steps: said }: SeriesHeader) => {
    if (!said) return column(points);
    const key = `${said} ${points}`;
    const steps = even.get(key) ?? new Float64Array(points);
    if (!even.has(key)) for (let i = 0; i < points; i++) steps[i] = said[0] + i * said[1];
    even.set(key, steps);
    return steps;
  };
  const series = answer.series.map((header) => {
    const { points } = header;
    return { header, step: stepsOf(header), time: column(points), value: column(points) };
  });
  return { series, missing: answer.missing };
}

const SPELLED: Record<string, number> = { nan: NaN, inf: Infinity, '-inf': -Infinity };

/** The values of a live message; what JSON cannot hold is spelled beside it. */
export function valuesOf(points: Pick<Points, 'value' | 'nonfinite'>): Float64Array {
  const spelled = points.nonfinite ?? {};
  return Float64Array.from(points.value, (value, at) => {
    if (value !== null) return value;
    const word = String((spelled as Record<string, string>)[String(at)] ?? 'nan').toLowerCase();
    return SPELLED[word.replace('infinity', 'inf')] ?? NaN;
  });
}

const same = (a: number, b: number) => a === b || (a !== a && b !== b);

type Part = Pick<Segment, 'start' | 'end'>;

/** One run's points of one metric. */
export class RunSeries {
  readonly header: SeriesHeader;
  readonly segments: Segment[];
  readonly marks: CheckpointMark[];
  private step: number[] | Float64Array;
  private time: number[] | Float64Array;
  private value: number[] | Float64Array;
  private readonly made = new Map<string, { main: Curve; abandoned: Curve[] }>();

  constructor(columns: Columns) {
    this.header = columns.header;
    this.segments = columns.header.segments;
    this.marks = columns.header.marks;
    this.step = columns.step;
    this.time = columns.time;
    this.value = columns.value;
  }

  get length(): number {
    return this.step.length;
  }

  /** Of how many of these points the beginning is held already: a stream that goes on at an older cursor says them again. */
  overlap(step: ArrayLike<number>, time: ArrayLike<number>, value: ArrayLike<number>): number {
    const held = this.length;
    if (step.length === 0 || held === 0 || time[0]! > this.time[held - 1]!) return 0;
    let from = held;
    while (from > 0 && this.time[from - 1]! >= time[0]!) from -= 1;
    for (; from < held; from++) {
      const count = Math.min(held - from, step.length);
      let i = 0;
      while (
        i < count &&
        this.step[from + i] === step[i] &&
        same(this.time[from + i]!, time[i]!) &&
        same(this.value[from + i]!, value[i]!)
      )
        i += 1;
      if (i === count) return count;
    }
    return 0;
  }

  /** Adds what was not held. Whether anything was. */
  append(step: ArrayLike<number>, time: ArrayLike<number>, value: ArrayLike<number>): boolean {
    const known = this.overlap(step, time, value);
    if (known === step.length) return false;
    const [s, t, v] = [step, time, value].map((column) => Array.prototype.slice.call(column, known) as number[]) as [
      number[],
      number[],
      number[],
    ];
    this.own();
    (this.step as number[]).push(...s);
    (this.time as number[]).push(...t);
    (this.value as number[]).push(...v);
    const last = this.segments.at(-1);
    if (last) last.end = this.length;
    this.made.forEach(({ main }, x) => {
      if (x.startsWith('m:')) this.made.delete(x);
      else main.append(this.xOf(x as XAxis, s, t), v);
    });
    return true;
  }

  /** The curve over an axis, and those parts that a later attempt began before. `other`: the series whose values are x. */
  curves(x: XAxis, other: RunSeries | null): { main: Curve; abandoned: Curve[] } {
    const isByMetric = x.startsWith('m:');
    const key = isByMetric ? `${x} ${other?.length ?? 0}` : x;
    const found = this.made.get(key);
    if (found) return found;
    const segments = this.segments.length ? this.segments : [{ start: 0, end: this.length, is_abandoned: false }];
    const main = segments.filter((one) => !one.is_abandoned);
    const abandoned = segments.filter((one) => one.is_abandoned);
    const made = {
      main: isByMetric ? this.joined(main, other) : this.curveOf(main, x),
      abandoned: isByMetric ? [] : abandoned.map((one) => this.curveOf([one], x)),
    };
    this.made.set(key, made);
    return made;
  }

  /** What was logged at a point of the main curve. */
  at(index: number): { step: number; time: number; value: number } {
    let left = index;
    for (const { start, end, is_abandoned } of this.segments) {
      if (is_abandoned) continue;
      if (left < end - start) return this.logged(start + left);
      left -= end - start;
    }
    return this.logged(Math.min(index, this.length - 1));
  }

  markX(mark: CheckpointMark, x: XAxis): number | null {
    if (x === 'step') return mark.step;
    if (x === 'root') return mark.step + this.header.step_offset;
    if (x === 'clock') return mark.time;
    return x === 'time' ? mark.time - (this.time[0] ?? mark.time) : null;
  }

  private logged(index: number) {
    return { step: this.step[index] ?? NaN, time: this.time[index] ?? NaN, value: this.value[index] ?? NaN };
  }

  private own(): void {
    if (!(this.step instanceof Float64Array)) return;
    this.step = Array.from(this.step);
    this.time = Array.from(this.time);
    this.value = Array.from(this.value);
  }

  private xOf(x: XAxis, step: ArrayLike<number>, time: ArrayLike<number>): Float64Array {
    if (x === 'clock') return columnOf(time);
    const [column, offset] = x === 'time' ? [time, -(this.time[0] ?? 0)] : [step, this.offsetOf(x)];
    if (offset === 0) return columnOf(column);
    const moved = new Float64Array(column.length);
    for (let i = 0; i < moved.length; i++) moved[i] = column[i]! + offset;
    return moved;
  }

  private offsetOf(x: XAxis): number {
    return x === 'root' ? this.header.step_offset : 0;
  }

  private curveOf(parts: readonly Part[], x: XAxis): Curve {
    const [step, time, value] = [this.step, this.time, this.value].map((column) => inParts(column, parts));
    return new Curve(this.xOf(x, step!, time!), value!);
  }

  /** Points at which both were logged, over the other's value. */
  private joined(parts: readonly Part[], other: RunSeries | null): Curve {
    const xs: number[] = [];
    const ys: number[] = [];
    const at = new Map<number, number>();
    if (other) for (let i = 0; i < other.length; i++) at.set(other.step[i]!, other.value[i]!);
    for (const { start, end } of parts)
      for (let i = start; i < end; i++) {
        const x = at.get(this.step[i]!);
        if (x === undefined || !Number.isFinite(x)) continue;
        xs.push(x);
        ys.push(this.value[i]!);
      }
    return new Curve(Float64Array.from(xs), Float64Array.from(ys));
  }
}

// A hundred thousand points are copied only where they must be: of most runs there is one part, and it is all.
const columnOf = (column: ArrayLike<number>) => (column instanceof Float64Array ? column : Float64Array.from(column));

function inParts(column: number[] | Float64Array, parts: readonly Part[]): Float64Array {
  const cut = ({ start, end }: Part) =>
    column instanceof Float64Array ? column.subarray(start, end) : column.slice(start, end);
  if (parts.length === 1) return columnOf(cut(parts[0]!));
  const all = new Float64Array(parts.reduce((sum, { start, end }) => sum + Math.max(0, end - start), 0));
  let at = 0;
  for (const part of parts) {
    all.set(cut(part), at);
    at += Math.max(0, part.end - part.start);
  }
  return all;
}
