// One curve in memory: columns that grow at the end, and its smoothed values, which grow with them.

function grown(column: Float64Array, least: number): Float64Array {
  const bigger = new Float64Array(Math.max(least, column.length * 2, 64));
  bigger.set(column);
  return bigger;
}

export class Curve {
  x: Float64Array;
  y: Float64Array;
  length: number;
  /** Whether x never falls: then a window is found by halving. */
  isSorted = true;
  /** Where stretches of NaN or infinity begin. */
  readonly broken: number[] = [];
  private readonly smoothedBy = new Map<number, Smoothed>();

  constructor(x: Float64Array, y: Float64Array) {
    this.x = x;
    this.y = y;
    this.length = x.length;
    this.look(0);
  }

  append(x: ArrayLike<number>, y: ArrayLike<number>): void {
    const from = this.length;
    const to = from + x.length;
    if (to > this.x.length) {
      this.x = grown(this.x, to);
      this.y = grown(this.y, to);
    }
    this.x.set(x, from);
    this.y.set(y, from);
    this.length = to;
    this.look(from);
    this.smoothedBy.forEach((smoothed) => smoothed.extend(this.y, to));
  }

  /** y, smoothed over all points; the last two weights asked for are kept. */
  smoothed(weight: number): Float64Array {
    if (weight === 0) return this.y;
    let found = this.smoothedBy.get(weight);
    if (!found) {
      // Its memory goes to the next one: while smoothing is dragged, each frame asks for another weight of all curves.
      const [oldest] = this.smoothedBy.size > 1 ? this.smoothedBy : [];
      if (oldest) this.smoothedBy.delete(oldest[0]);
      found = new Smoothed(weight, oldest?.[1].values);
      found.extend(this.y, this.length);
      this.smoothedBy.set(weight, found);
    }
    return found.values;
  }

  private look(from: number): void {
    for (let i = from; i < this.length; i++) {
      if (i > 0 && this.x[i]! < this.x[i - 1]!) this.isSorted = false;
      if (!Number.isFinite(this.y[i]) && (i === 0 || Number.isFinite(this.y[i - 1]))) this.broken.push(i);
    }
  }
}

/** Exponential moving average, freed of its bias towards the beginning; what is not finite stays and is not averaged. */
export class Smoothed {
  private length = 0;
  private mean = 0;
  private share = 0;

  /** `values`: memory to write into. */
  constructor(
    private readonly weight: number,
    public values: Float64Array = new Float64Array(0),
  ) {}

  extend(y: Float64Array, length: number): void {
    if (length > this.values.length) this.values = grown(this.values, length);
    const w = this.weight;
    for (let i = this.length; i < length; i++) {
      const value = y[i]!;
      if (!Number.isFinite(value)) {
        this.values[i] = value;
        continue;
      }
      this.mean = this.mean * w + (1 - w) * value;
      this.share = this.share * w + (1 - w);
      this.values[i] = this.mean / this.share;
    }
    this.length = length;
  }
}
