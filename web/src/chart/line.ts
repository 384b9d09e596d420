// What a chart is given to draw, and what it prepares of it for the window that is shown.
import type { Curve } from './curve';
import { Columns, GAP, type Window, lowerBound } from './resample';

export interface Line {
  id: string;
  curve: Curve;
  colour: string;
  dash: readonly number[];
  /** Is drawn thin, below the others, and cannot be pointed at. */
  isBackground?: boolean;
  /** It still grows: its end has a dot. */
  isOpen?: boolean;
  /** An area about it, at the same x: its band, where that is asked for. */
  area?: { low: Curve; high: Curve };
  /** The x of what was saved along it: pointed at, it can be picked. */
  saved?: readonly (number | null)[];
}

/** A line in the columns of a window. */
export class Drawn {
  columns = new Float64Array(0);
  /** The same of the values before smoothing, or of the line's area; empty where neither is asked for. */
  band = new Float64Array(0);
  /** The points [first, last) of the window with one more on each side. */
  first = 0;
  last = 0;
  /** Few enough points that they are drawn one by one. */
  isExact = false;
  private placed: { place: string; curve: Curve; columns: Columns } | null = null;
  private smooth = -1;

  constructor(public line: Line) {}

  /** Brings the columns up to date; only the end of a curve that grew is looked at. */
  prepare(line: Line, window: Window, smooth: number, withBand: boolean): void {
    this.line = line;
    const { curve } = line;
    const place = `${window.x0} ${window.x1} ${window.columns} ${window.logX} ${window.logY}`;
    if (this.placed?.place !== place || this.placed.curve !== curve) {
      this.placed = { place, curve, columns: new Columns(curve, window) };
      this.smooth = -1;
      this.band = new Float64Array(0);
    }
    const { columns } = this.placed;
    const changed = columns.grow();
    const size = 2 * window.columns;
    if (this.columns.length !== size) this.columns = new Float64Array(size);
    columns.fill(curve.smoothed(smooth), this.columns, smooth === this.smooth ? changed : 0);
    this.smooth = smooth;
    if (line.area && withBand) this.band = areaOf(columns, line.area, smooth, size);
    else if (line.area || !withBand || smooth === 0) this.band = new Float64Array(0);
    else if (this.band.length === size) columns.fill(curve.y, this.band, changed);
    else columns.fill(curve.y, (this.band = new Float64Array(size)));
    if (curve.isSorted) {
      this.first = Math.max(0, lowerBound(curve.x, curve.length, window.x0) - 1);
      this.last = lowerBound(curve.x, curve.length, window.x1);
      while (this.last < curve.length && curve.x[this.last] === window.x1) this.last += 1;
      this.last = Math.min(curve.length, this.last + 1);
    } else {
      this.first = 0;
      this.last = curve.length;
    }
    this.isExact = this.last - this.first <= 2 * window.columns;
  }

  /** Least and greatest of what is drawn, into `range`. */
  widen(range: [number, number], smooth: number, logY: boolean): void {
    for (const out of [this.columns, this.band])
      for (let i = 0; i < out.length; i++) {
        const value = out[i]!;
        if (value - value !== 0 || (logY && value <= 0)) continue;
        if (value < range[0]) range[0] = value;
        if (value > range[1]) range[1] = value;
      }
    if (!this.isExact || !this.line.curve.isSorted) return;
    // A window between two points shows neither of them, but the line from one to the other.
    if (range[0] > range[1]) {
      const y = this.line.curve.smoothed(smooth);
      for (let i = this.first; i < this.last; i++) {
        const value = y[i]!;
        if (value - value !== 0 || (logY && value <= 0)) continue;
        range[0] = Math.min(range[0], value);
        range[1] = Math.max(range[1], value);
      }
    }
  }

  /** The value drawn at the point nearest to x; null where none can be. */
  heightAt(x: number, smooth: number, logY: boolean): number | null {
    const y = this.line.curve.smoothed(smooth)[this.nearest(x)];
    return y === undefined || !Number.isFinite(y) || (logY && y <= 0) ? null : y;
  }

  /** The point nearest to x; -1 where there is none. */
  nearest(x: number): number {
    const { curve } = this.line;
    if (curve.length === 0) return -1;
    if (!curve.isSorted) {
      let best = -1;
      let distance = Infinity;
      for (let i = 0; i < curve.length; i++) {
        const away = Math.abs(curve.x[i]! - x);
        if (away < distance) {
          distance = away;
          best = i;
        }
      }
      return best;
    }
    const right = lowerBound(curve.x, curve.length, x);
    if (right === 0) return 0;
    if (right === curve.length) return curve.length - 1;
    return curve.x[right]! - x < x - curve.x[right - 1]! ? right : right - 1;
  }
}

/** The least of the lower edge and the greatest of the upper one in each column. */
function areaOf(columns: Columns, area: { low: Curve; high: Curve }, smooth: number, size: number) {
  const low = new Float64Array(size);
  const band = new Float64Array(size);
  columns.fill(area.low.smoothed(smooth), low);
  columns.fill(area.high.smoothed(smooth), band);
  for (let at = 0; at < size; at += 2) {
    const least = Math.min(low[at]!, low[at + 1]!);
    band[at + 1] = Math.max(band[at]!, band[at + 1]!);
    // On a log axis an edge may lie below all that has a height.
    band[at] = least === GAP && band[at + 1] !== GAP ? 0 : least;
  }
  return band;
}

/** The least and greatest x of some lines. */
export function extentOf(drawn: readonly Drawn[], logX: boolean): [number, number] {
  let from = Infinity;
  let to = -Infinity;
  for (const { line } of drawn) {
    const { curve } = line;
    if (curve.isSorted && curve.length > 0 && !logX) {
      from = Math.min(from, curve.x[0]!);
      to = Math.max(to, curve.x[curve.length - 1]!);
    } else
      for (let i = 0; i < curve.length; i++) {
        const x = curve.x[i]!;
        if (!Number.isFinite(x) || (logX && x <= 0)) continue;
        from = Math.min(from, x);
        to = Math.max(to, x);
      }
  }
  return [from, to];
}

/** Puts a line's path into the context: its points, or two of each column. NaN and GAP break it. */
export function trace(
  context: CanvasRenderingContext2D,
  drawn: Drawn,
  window: Window,
  smooth: number,
  toX: (x: number) => number,
  toY: (y: number) => number,
): void {
  let isDown = false;
  const to = (x: number, y: number) => {
    if (isDown) context.lineTo(x, y);
    else context.moveTo(x, y);
    isDown = true;
  };
  if (drawn.isExact) {
    const { curve } = drawn.line;
    const y = curve.smoothed(smooth);
    for (let i = drawn.first; i < drawn.last; i++) {
      const value = y[i]!;
      if (value - value !== 0 || (window.logY && value <= 0) || (window.logX && curve.x[i]! <= 0)) isDown = false;
      else to(toX(curve.x[i]!), toY(value));
    }
    return;
  }
  const out = drawn.columns;
  const left = toX(window.x0);
  const width = (toX(window.x1) - left) / window.columns;
  for (let c = 0; c < window.columns; c++) {
    const a = out[2 * c]!;
    if (a !== a) continue;
    if (a === GAP) {
      isDown = false;
      continue;
    }
    const b = out[2 * c + 1]!;
    const x = left + c * width;
    if (a === b) to(x + width / 2, toY(a));
    else {
      to(x + width / 4, toY(a));
      to(x + (3 * width) / 4, toY(b));
    }
  }
}

/** The area about a line of few points: along its upper edge and back along its lower one, where it can be drawn. */
export function traceArea(
  context: CanvasRenderingContext2D,
  { first, last, line: { curve, area } }: Drawn,
  window: Window,
  smooth: number,
  toX: (x: number) => number,
  toY: (y: number) => number,
): void {
  const high = area!.high.smoothed(smooth);
  const low = area!.low.smoothed(smooth);
  const isSeen = (i: number) =>
    Number.isFinite(high[i]) && (!window.logY || high[i]! > 0) && (!window.logX || curve.x[i]! > 0);
  for (let begin = first; begin < last; begin++) {
    if (!isSeen(begin)) continue;
    let end = begin;
    context.moveTo(toX(curve.x[begin]!), toY(high[begin]!));
    while (end < last && isSeen(end)) context.lineTo(toX(curve.x[end]!), toY(high[end++]!));
    for (let i = end - 1; i >= begin; i--) context.lineTo(toX(curve.x[i]!), toY(low[i]!));
    context.closePath();
    begin = end;
  }
}

/** The area between least and greatest of each column. */
export function traceBand(
  context: CanvasRenderingContext2D,
  out: Float64Array,
  window: Window,
  toX: (x: number) => number,
  toY: (y: number) => number,
): void {
  const left = toX(window.x0);
  const width = (toX(window.x1) - left) / window.columns;
  let c = 0;
  while (c < window.columns) {
    while (c < window.columns && !Number.isFinite(out[2 * c]!)) c += 1;
    const begin = c;
    const held: number[] = [];
    while (c < window.columns && out[2 * c]! !== GAP) {
      if (Number.isFinite(out[2 * c]!)) held.push(c);
      c += 1;
    }
    if (held.length < 2) {
      if (c === begin) c += 1;
      continue;
    }
    // Each column in its whole width: a spike of one step would end in a point that is thinner than a pixel.
    held.forEach((k, at) => {
      const y = toY(Math.max(out[2 * k]!, out[2 * k + 1]!));
      if (at === 0) context.moveTo(left + k * width, y);
      else context.lineTo(left + k * width, y);
      context.lineTo(left + (k + 1) * width, y);
    });
    for (const k of held.reverse()) {
      const y = toY(Math.min(out[2 * k]!, out[2 * k + 1]!));
      context.lineTo(left + (k + 1) * width, y);
      context.lineTo(left + k * width, y);
    }
    context.closePath();
  }
}
