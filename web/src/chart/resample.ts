// Curves are brought to the columns of pixels before they are drawn: of each column its least and its greatest value,
// so that a spike of one step is always seen, and drawing costs by the pixel, not by the point.

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

/**
 * Fills `out` with two values a column: its extremes, in the order they came; NaN where it holds no point, GAP where none
 * can be drawn. Points from `from` on; what was in the columns before the one of `from` stays, so that a curve that
 * grew costs only its end.
 */
export function resample(
  x: Float64Array,
  y: Float64Array,
  length: number,
  window: Window,
  out: Float64Array,
  isSorted = true,
  from = 0,
): void {
  const { x0, x1, columns, logX, logY } = window;
  const low = logX ? Math.log10(x0) : x0;
  const scale = columns / ((logX ? Math.log10(x1) : x1) - low);
  let first = 0;
  let begin = 0;
  if (isSorted) {
    begin = lowerBound(x, length, x0);
    if (from > begin) {
      const at = x[from]!;
      if (at > x1) return;
      first = Math.min(columns - 1, Math.max(0, ((logX ? Math.log10(at) : at) - low) * scale)) | 0;
      // Back to the first point of that column: it is filled anew.
      begin = from;
      while (begin > 0 && x[begin - 1]! >= x0 && columnOf(x[begin - 1]!) === first) begin -= 1;
    }
  }
  function columnOf(at: number): number {
    const c = (((logX ? Math.log10(at) : at) - low) * scale) | 0;
    return c >= columns ? columns - 1 : c;
  }
  out.fill(NaN, 2 * first, 2 * columns);
  let column = -1;
  let least = 0;
  let greatest = 0;
  let leastCameFirst = true;
  for (let i = begin; i < length; i++) {
    const at = x[i]!;
    if (at < x0 || !(at <= x1)) {
      if (isSorted && at > x1) break;
      continue;
    }
    if (logX && at <= 0) continue;
    const c = columnOf(at);
    const value = y[i]!;
    const isDrawn = value - value === 0 && (!logY || value > 0);
    if (c !== column) {
      column = c;
      const before = out[2 * c]!;
      if (before - before === 0) {
        // x fell back into a column that has points already.
        const after = out[2 * c + 1]!;
        least = Math.min(before, after);
        greatest = Math.max(before, after);
        leastCameFirst = before <= after;
      } else {
        if (!isDrawn) {
          out[2 * c] = out[2 * c + 1] = GAP;
          column = -1;
          continue;
        }
        least = greatest = value;
        leastCameFirst = true;
      }
    }
    if (!isDrawn) continue;
    if (value < least) {
      least = value;
      leastCameFirst = false;
    } else if (value > greatest) {
      greatest = value;
      leastCameFirst = true;
    }
    out[2 * c] = leastCameFirst ? least : greatest;
    out[2 * c + 1] = leastCameFirst ? greatest : least;
  }
}

/** Least and greatest value of some columns, widened by what `range` was. */
export function widen(range: [number, number], out: Float64Array): void {
  for (const value of out) {
    if (value - value !== 0) continue;
    if (value < range[0]) range[0] = value;
    if (value > range[1]) range[1] = value;
  }
}
