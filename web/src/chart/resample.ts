// Curves are brought to the columns of pixels before they are drawn: of each column its least and its greatest value,
// so that a spike of one step is always seen, and drawing costs by the pixel, not by the point.
import type { Curve } from './curve';

/** In a column that holds points, but none that can be drawn (NaN, or not above 0 on a log axis). */
export const GAP = Infinity;

/** What is shown: the x that the first and last column begin and end at. */
export interface Window {
  x0: number;
  x1: number;
  columns: number;
  logX: boolean;
  logY: boolean;
}

/** The first index whose x is not below `at`, in x that never falls. */
export function lowerBound(x: Float64Array, length: number, at: number): number {
  let low = 0;
  let high = length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (x[middle]! < at) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Which points of a curve each column of a window holds: found once, and then used for whatever values are drawn. */
export class Columns {
  /** Where the points of each column begin, and where those of the last one end. */
  private readonly starts: Int32Array;
  private readonly low: number;
  private readonly scale: number;
  private placed = 0;

  constructor(
    private readonly curve: Curve,
    readonly window: Window,
  ) {
    this.starts = new Int32Array(window.columns + 1);
    this.low = this.along(window.x0);
    this.scale = window.columns / (this.along(window.x1) - this.low);
  }

  /** Places the points that came since; the first column that is another one now. */
  grow(): number {
    const { x, length, isSorted } = this.curve;
    const { columns, x0, x1 } = this.window;
    if (!isSorted) return 0;
    const { placed, starts } = this;
    if (placed === length) return columns;
    this.placed = length;
    if (placed > 0 && x[placed - 1]! > x1) return columns;
    const begin = lowerBound(x, length, x0);
    const first = placed > begin ? this.of(x[placed - 1]!) : 0;
    let column = placed > begin ? first + 1 : 0;
    let i = Math.max(begin, placed);
    for (; i < length && x[i]! <= x1; i++) for (const at = this.of(x[i]!); column <= at; column++) starts[column] = i;
    starts.fill(i, column);
    return first;
  }

  /**
   * Fills `out`, from a column on, with two values a column: the extremes of y there, in the order they came; NaN where
   * there is no point, GAP where none can be drawn.
   */
  fill(y: Float64Array, out: Float64Array, from = 0): void {
    if (!this.curve.isSorted) return this.fillUnsorted(y, out);
    const { starts, window } = this;
    const above = window.logY ? 0 : -Infinity;
    for (let c = from; c < window.columns; c++) {
      const begin = starts[c]!;
      const end = starts[c + 1]!;
      let least = Infinity;
      let greatest = -Infinity;
      let leastAt = 0;
      let greatestAt = 0;
      for (let i = begin; i < end; i++) {
        const value = y[i]!;
        if (!(value > above && value < Infinity)) continue;
        if (value < least) {
          least = value;
          leastAt = i;
        }
        if (value > greatest) {
          greatest = value;
          greatestAt = i;
        }
      }
      if (begin === end) out[2 * c] = out[2 * c + 1] = NaN;
      else if (least > greatest) out[2 * c] = out[2 * c + 1] = GAP;
      else {
        out[2 * c] = leastAt <= greatestAt ? least : greatest;
        out[2 * c + 1] = leastAt <= greatestAt ? greatest : least;
      }
    }
  }

  private fillUnsorted(y: Float64Array, out: Float64Array): void {
    const { x, length } = this.curve;
    const { x0, x1, logY } = this.window;
    out.fill(NaN);
    for (let i = 0; i < length; i++) {
      if (!(x[i]! >= x0 && x[i]! <= x1)) continue;
      const c = this.of(x[i]!);
      const value = y[i]!;
      const [a, b] = [out[2 * c]!, out[2 * c + 1]!];
      if (value - value !== 0 || (logY && value <= 0)) {
        if (a !== a) out[2 * c] = out[2 * c + 1] = GAP;
      } else if (a - a !== 0) out[2 * c] = out[2 * c + 1] = value;
      else if (value < Math.min(a, b) || value > Math.max(a, b)) {
        // A new extreme is the later one; the other one stays.
        out[2 * c] = value < a ? Math.max(a, b) : Math.min(a, b);
        out[2 * c + 1] = value;
      }
    }
  }

  private along(x: number): number {
    return this.window.logX ? Math.log10(x) : x;
  }

  private of(x: number): number {
    const column = ((this.along(x) - this.low) * this.scale) | 0;
    return column >= this.window.columns ? this.window.columns - 1 : column;
  }
}
