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

/** The body of GET /api/series: u32 length of the header, the header, then three columns for each series. */
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
  const series = answer.series.map((header) => {
    const { points } = header;
    return { header, step: column(points), time: column(points), value: column(points) };
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
    const main: number[] = [];
    const abandoned: number[][] = [];
    const segments = this.segments.length ? this.segments : [{ start: 0, end: this.length, is_abandoned: false }];
    for (const { start, end, is_abandoned } of segments) {
      const indices = Array.from({ length: Math.max(0, end - start) }, (_, i) => start + i);
      if (is_abandoned) abandoned.push(indices);
      else for (const index of indices) main.push(index);
    }
    const made = {
      main: this.curveOf(main, x, other),
      abandoned: isByMetric ? [] : abandoned.map((indices) => this.curveOf(indices, x, null)),
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
    if (x === 'clock') return Float64Array.from(time);
    if (x === 'time') {
      const began = this.time[0] ?? 0;
      return Float64Array.from(time, (t) => t - began);
    }
    const offset = x === 'root' ? this.header.step_offset : 0;
    return Float64Array.from(step, (s) => s + offset);
  }

  private curveOf(indices: number[], x: XAxis, other: RunSeries | null): Curve {
    if (x.startsWith('m:')) return this.joined(indices, other);
    const pick = (column: ArrayLike<number>) => Float64Array.from(indices, (i) => column[i]!);
    return new Curve(this.xOf(x, pick(this.step), pick(this.time)), pick(this.value));
  }

  /** Points at which both were logged, over the other's value. */
  private joined(indices: number[], other: RunSeries | null): Curve {
    const xs: number[] = [];
    const ys: number[] = [];
    const at = new Map<number, number>();
    if (other) for (let i = 0; i < other.length; i++) at.set(other.step[i]!, other.value[i]!);
    for (const i of indices) {
      const x = at.get(this.step[i]!);
      if (x === undefined || !Number.isFinite(x)) continue;
      xs.push(x);
      ys.push(this.value[i]!);
    }
    return new Curve(Float64Array.from(xs), Float64Array.from(ys));
  }
}
