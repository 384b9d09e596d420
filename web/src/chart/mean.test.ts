import { describe, expect, test } from 'vitest';
import { Curve } from './curve';
import { meanOf } from './mean';

const curve = (x: number[], y: number[]) => new Curve(Float64Array.from(x), Float64Array.from(y));
const told = (...curves: Curve[]) => {
  const { curve: mean, low, high, std, count } = meanOf(curves);
  return {
    x: [...mean.x],
    mean: [...mean.y],
    std: [...std],
    count: [...count],
    low: [...low.y],
    high: [...high.y],
  };
};

describe('the mean of curves', () => {
  test('is of the values at equal steps, with the standard deviation of a sample', () => {
    const found = told(curve([0, 1], [1, 10]), curve([0, 1], [2, 10]), curve([0, 1], [3, 10]));
    expect(found).toEqual({
      x: [0, 1],
      mean: [2, 10],
      std: [1, 0],
      count: [3, 3],
      low: [1, 10],
      high: [3, 10],
    });
  });

  test('of one curve is that curve, with no spread', () => {
    expect(told(curve([0, 5], [1, 2]))).toMatchObject({ x: [0, 5], mean: [1, 2], std: [0, 0], count: [1, 1] });
  });

  test('lies on the straight line between a run’s own points where steps differ', () => {
    const found = told(curve([0, 2, 4], [0, 2, 4]), curve([0, 1, 4], [10, 12, 18]));
    expect(found.x).toEqual([0, 1, 2, 4]);
    expect(found.mean).toEqual([5, 6.5, 8, 11]);
    expect(found.count).toEqual([2, 2, 2, 2]);
  });

  test('takes nothing of a run before its first point or after its last', () => {
    const found = told(curve([0, 1, 2, 3], [1, 1, 1, 1]), curve([1, 2], [3, 3]));
    expect(found.mean).toEqual([1, 2, 2, 1]);
    expect(found.count).toEqual([1, 2, 2, 1]);
  });

  test('counts a run that is no number at a step neither there nor on the way to it', () => {
    const found = told(curve([0, 2, 4], [1, NaN, 1]), curve([0, 1, 2, 3, 4], [3, 3, 3, 3, 3]));
    expect(found.count).toEqual([2, 1, 1, 1, 2]);
    expect(found.mean).toEqual([2, 3, 3, 3, 2]);
    expect(told(curve([0, 1], [NaN, 1])).mean).toEqual([NaN, 1]);
  });

  test('takes the last of several values at one step, and points in any order', () => {
    expect(told(curve([0, 1, 1], [1, 5, 7]))).toMatchObject({ x: [0, 1], mean: [1, 7] });
    expect(told(curve([2, 0], [20, 0]), curve([0, 2], [0, 40]))).toMatchObject({ x: [0, 2], mean: [0, 30] });
  });

  test('of long curves whose steps are all different has as many points as the longest of them', () => {
    const line = (offset: number) => {
      const x = Array.from({ length: 2000 }, (_, at) => at + offset);
      return curve(x, x);
    };
    const { curve: mean } = meanOf([line(0), line(0.3), line(0.6)]);
    expect(mean.length).toBe(2000);
    expect([mean.x[0], mean.x[1999]]).toEqual([0, 1999.6]);
    for (let at = 0; at < 2000; at++) expect(mean.y[at]).toBeCloseTo(mean.x[at]!, 9);
  });

  test('of no curve is empty', () => {
    expect(told()).toMatchObject({ x: [], mean: [] });
    expect(told(curve([], []))).toMatchObject({ x: [], mean: [] });
  });
});
