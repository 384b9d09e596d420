import { describe, expect, test } from 'vitest';
import { Curve } from './curve';
import { Columns, GAP, type Window, lowerBound } from './resample';

/** Random, and the same at every run. */
function dice(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

function someCurve(roll: () => number, { isSorted = true, withNaN = true } = {}): Curve {
  const length = Math.floor(roll() * 3000);
  const x = new Float64Array(length);
  const y = new Float64Array(length);
  let at = roll() * 10 - 3;
  for (let i = 0; i < length; i++) {
    at = isSorted ? at + (roll() < 0.1 ? 0 : roll()) : roll() * 500;
    x[i] = at;
    y[i] =
      withNaN && roll() < 0.03
        ? [NaN, Infinity, -Infinity][Math.floor(roll() * 3)]!
        : (roll() - 0.3) * 10 ** (roll() * 4);
  }
  return new Curve(x, y);
}

function someWindow(roll: () => number): Window {
  const logX = roll() < 0.2;
  const x0 = logX ? 0.1 + roll() * 5 : roll() * 300 - 20;
  return { x0, x1: x0 + 1 + roll() * 900, columns: 1 + Math.floor(roll() * 700), logX, logY: roll() < 0.3 };
}

/** The same by the definition, column by column. */
function extremes(curve: Curve, y: Float64Array, window: Window): [number, number][] {
  const f = (v: number) => (window.logX ? Math.log10(v) : v);
  const scale = window.columns / (f(window.x1) - f(window.x0));
  const values: number[][] = Array.from({ length: window.columns }, () => []);
  for (let i = 0; i < curve.length; i++) {
    const x = curve.x[i]!;
    if (x < window.x0 || x > window.x1 || (window.logX && x <= 0)) continue;
    values[Math.min(window.columns - 1, Math.floor((f(x) - f(window.x0)) * scale))]!.push(y[i]!);
  }
  return values.map((all) => {
    if (!all.length) return [NaN, NaN];
    const drawn = all.filter((v) => Number.isFinite(v) && (!window.logY || v > 0));
    return drawn.length ? [Math.min(...drawn), Math.max(...drawn)] : [GAP, GAP];
  });
}

function columnsOf(curve: Curve, window: Window, smooth = 0): Float64Array {
  const out = new Float64Array(2 * window.columns);
  const columns = new Columns(curve, window);
  columns.grow();
  columns.fill(curve.smoothed(smooth), out);
  return out;
}

const sorted = (out: Float64Array) =>
  Array.from({ length: out.length / 2 }, (_, c) => {
    const [a, b] = [out[2 * c]!, out[2 * c + 1]!];
    return a <= b || Number.isNaN(a) ? [a, b] : [b, a];
  });

describe('resampling', () => {
  test.each([true, false])('keeps least and greatest of every column (x sorted: %s)', (isSorted) => {
    const roll = dice(7);
    for (let round = 0; round < 300; round++) {
      const curve = someCurve(roll, { isSorted });
      const window = someWindow(roll);
      expect(sorted(columnsOf(curve, window))).toEqual(extremes(curve, curve.y, window));
    }
  });

  test('a spike of one step is there, whatever is beside it', () => {
    const x = Float64Array.from({ length: 100_000 }, (_, i) => i);
    const y = new Float64Array(100_000).fill(1);
    y[54_321] = 9;
    const out = columnsOf(new Curve(x, y), { x0: 0, x1: 1e5, columns: 600, logX: false, logY: false });
    expect(Math.max(...out)).toBe(9);
    expect([...out].filter((v) => v === 9)).toHaveLength(1);
  });

  test('the extremes of a column stand in the order they came', () => {
    const window = { x0: 0, x1: 10, columns: 1, logX: false, logY: false };
    for (const x of [Float64Array.of(1, 2, 3), Float64Array.of(3, 2, 1)]) {
      expect([...columnsOf(new Curve(x, Float64Array.of(5, 1, 3)), window)]).toEqual([5, 1]);
      expect([...columnsOf(new Curve(x, Float64Array.of(1, 5, 3)), window)]).toEqual([1, 5]);
    }
  });

  test('a curve that grew is drawn as one that was read whole', () => {
    const roll = dice(11);
    for (let round = 0; round < 200; round++) {
      const whole = someCurve(roll);
      const window = someWindow(roll);
      const cut = Math.floor(roll() * whole.length);
      const grown = new Curve(whole.x.slice(0, cut), whole.y.slice(0, cut));
      const out = new Float64Array(2 * window.columns);
      const columns = new Columns(grown, window);
      columns.fill(grown.smoothed(0.9), out, columns.grow());
      for (let from = cut; from < whole.length;) {
        const to = Math.min(whole.length, from + 1 + Math.floor(roll() * 50));
        grown.append(whole.x.slice(from, to), whole.y.slice(from, to));
        columns.fill(grown.smoothed(0.9), out, columns.grow());
        from = to;
      }
      expect([...out]).toEqual([...columnsOf(whole, window, 0.9)]);
      expect(grown.broken).toEqual(whole.broken);
    }
  });

  test('what is not above 0 is a gap on a log axis', () => {
    const window = { x0: 0, x1: 3, columns: 3, logX: false, logY: true };
    const curve = new Curve(Float64Array.of(0.5, 1.5, 2.5), Float64Array.of(1, 0, -3));
    expect([...columnsOf(curve, window)]).toEqual([1, 1, GAP, GAP, GAP, GAP]);
  });

  test('the window begins where it begins', () => {
    const x = Float64Array.of(0, 1, 1, 1, 2, 5);
    expect([-1, 0, 0.5, 1, 2, 3, 6].map((at) => lowerBound(x, 6, at))).toEqual([0, 0, 1, 1, 4, 5, 6]);
  });
});

describe('smoothing', () => {
  test('is of all points, before they are brought to columns', () => {
    const roll = dice(3);
    const y = Float64Array.from({ length: 5000 }, () => roll());
    const curve = new Curve(
      Float64Array.from(y, (_, i) => i),
      y,
    );
    let mean = 0;
    let share = 0;
    const wanted = Float64Array.from(y, (v) => {
      mean = 0.95 * mean + 0.05 * v;
      share = 0.95 * share + 0.05;
      return mean / share;
    });
    const window = { x0: 0, x1: 5000, columns: 50, logX: false, logY: false };
    sorted(columnsOf(curve, window, 0.95)).forEach(([least, greatest], c) => {
      const part = wanted.slice(c * 100, c * 100 + 100);
      expect(least).toBeCloseTo(Math.min(...part), 12);
      expect(greatest).toBeCloseTo(Math.max(...part), 12);
    });
  });

  test('of another weight is what it would be alone, though memory is used again', () => {
    const roll = dice(5);
    const y = Float64Array.from({ length: 300 }, (_, i) => (i % 50 ? roll() : NaN));
    const curve = new Curve(
      Float64Array.from(y, (_, i) => i),
      y,
    );
    for (const weight of [0.1, 0.9, 0.5, 0.99, 0.1]) {
      const alone = new Curve(curve.x, y).smoothed(weight);
      expect([...curve.smoothed(weight).slice(0, 300)]).toEqual([...alone.slice(0, 300)]);
    }
  });

  test('has no bias towards 0 at the beginning, and steps over NaN', () => {
    const curve = new Curve(Float64Array.of(0, 1, 2, 3), Float64Array.of(4, 4, NaN, 4));
    const smoothed = [...curve.smoothed(0.9).slice(0, 4)];
    [4, 4, NaN, 4].forEach((v, i) =>
      Number.isNaN(v) ? expect(smoothed[i]).toBeNaN() : expect(smoothed[i]).toBeCloseTo(v, 12),
    );
    expect(curve.broken).toEqual([2]);
  });
});
