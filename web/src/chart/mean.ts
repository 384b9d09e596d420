// The mean of several curves and its spread. Where their x are equal, of the points there; where they are not, each is
// brought to a common grid by straight lines between its own points, and never beyond its first and last one.
import { Curve } from './curve';

export interface Mean {
  /** The mean; NaN where no curve has a value. */
  curve: Curve;
  /** The mean less, and more, one standard deviation (of a sample); the mean itself where there is one curve. */
  low: Curve;
  high: Curve;
  std: Float64Array;
  /** How many curves each point is of: some end before others, or are NaN there. */
  count: Uint32Array;
}

/** Up to as many different x are all points of the grid, and up to twice as many as the longest curve has. */
const FEW = 1000;

interface Points {
  x: Float64Array;
  y: Float64Array;
}

export function meanOf(curves: readonly Curve[]): Mean {
  const all = curves.map(rising).filter(({ x }) => x.length > 0);
  const grid = gridOf(all.map(({ x }) => x));
  const { length } = grid;
  const count = new Uint32Array(length);
  const mean = new Float64Array(length);
  const squares = new Float64Array(length);
  const add = (at: number, value: number) => {
    if (!Number.isFinite(value)) return;
    const away = value - mean[at]!;
    mean[at]! += away / ++count[at]!;
    squares[at]! += away * (value - mean[at]!);
  };
  for (const { x, y } of all) {
    let next = 0;
    for (let at = 0; at < length && next < x.length; at++) {
      const here = grid[at]!;
      while (next < x.length && x[next]! < here) next += 1;
      if (next === x.length) break;
      if (x[next] === here) add(at, y[next]!);
      else if (next > 0) {
        const share = (here - x[next - 1]!) / (x[next]! - x[next - 1]!);
        add(at, y[next - 1]! + share * (y[next]! - y[next - 1]!));
      }
    }
  }
  const std = squares.map((sum, at) => (count[at]! > 1 ? Math.sqrt(sum / (count[at]! - 1)) : 0));
  const values = mean.map((value, at) => (count[at] ? value : NaN));
  return {
    curve: new Curve(grid, values),
    low: new Curve(
      grid,
      values.map((value, at) => value - std[at]!),
    ),
    high: new Curve(
      grid,
      values.map((value, at) => value + std[at]!),
    ),
    std,
    count,
  };
}

/** Points whose x rises; of those with one x the last one that was logged. */
function rising({ x, y, length }: Curve): Points {
  const isRising = () => {
    for (let i = 0; i < length; i++) if (!Number.isFinite(x[i]) || (i > 0 && x[i]! <= x[i - 1]!)) return false;
    return true;
  };
  if (isRising()) return { x: x.subarray(0, length), y: y.subarray(0, length) };
  const last = new Map<number, number>();
  for (let i = 0; i < length; i++) if (Number.isFinite(x[i])) last.set(x[i]!, y[i]!);
  const sorted = Float64Array.from(last.keys()).sort();
  return { x: sorted, y: sorted.map((at) => last.get(at)!) };
}

/** All x where they are few or most of them are shared; else as many as the longest has, evenly. */
function gridOf(all: readonly Float64Array[]): Float64Array {
  const [first] = all;
  if (!first) return new Float64Array(0);
  const longest = Math.max(...all.map(({ length }) => length));
  const most = Math.max(FEW, 2 * longest);
  const isSame = (x: Float64Array) => x.length === first.length && x.every((value, at) => value === first[at]);
  if (all.every(isSame)) return first.slice();
  const union = new Set<number>();
  for (const x of all) {
    for (const value of x) union.add(value);
    if (union.size > most) break;
  }
  if (union.size <= most) return Float64Array.from(union).sort();
  const from = Math.min(...all.map((x) => x[0]!));
  const to = Math.max(...all.map((x) => x[x.length - 1]!));
  return Float64Array.from({ length: longest }, (_, at) =>
    at === longest - 1 ? to : from + ((to - from) * at) / (longest - 1),
  );
}
