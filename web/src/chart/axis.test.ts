import { describe, expect, test } from 'vitest';
import { COUNT_STEPS, clockTick, durationTick, logTicks, numberTick } from './axis';
import { airy, roundEnd, share, unshare } from './scale';

describe('axes', () => {
  test('durations are written as people say them', () => {
    expect([0, 45, 60, 90, 3600, 5400, 90000].map((s) => durationTick(s, 15))).toEqual([
      '0',
      '45 s',
      '1 min',
      '1:30',
      '1 h',
      '1:30 h',
      '1 d 1 h',
    ]);
    expect(durationTick(0.25, 0.05)).toBe('0.25 s');
  });

  test('what is counted has ticks at whole numbers only', () => {
    expect(COUNT_STEPS.slice(0, 5)).toEqual([1, 2, 5, 10, 20]);
    expect(COUNT_STEPS.every(Number.isInteger)).toBe(true);
  });

  test('a clock says the day where it begins', () => {
    const midnight = new Date(2026, 10, 26).getTime() / 1000;
    expect(clockTick(midnight, 900)).toBe('26 Nov');
    expect(clockTick(midnight + 900, 900)).toBe('00:15');
    expect(clockTick(midnight + 905, 5)).toBe('00:15:05');
    expect(clockTick(midnight + 43200, 86400)).toBe('26 Nov');
  });

  test('numbers are short, and two ticks are never the same', () => {
    expect([0, 2000, 10000, 12500].map((v) => numberTick(v, 500))).toEqual(['0', '2,000', '10k', '12.5k']);
    expect([0.1, 0.15, 0.2].map((v) => numberTick(v, 0.05))).toEqual(['0.1', '0.15', '0.2']);
    expect([0.25, 0.5, 0.75, 1.25].map((v) => numberTick(v, 0.25))).toEqual(['0.25', '0.5', '0.75', '1.25']);
    expect([2e6, 3.5e9, 4e-5, -0.5].map((v) => numberTick(v, 0.1))).toEqual(['2M', '3.5G', '4e-5', '−0.5']);
  });

  test('ticks that are evenly spaced are written so', () => {
    const written = (all: number[], step: number) => all.map((value) => numberTick(value, step));
    expect(written([0.25, 0.5, 0.75, 1, 1.25], 0.25)).toEqual(['0.25', '0.5', '0.75', '1', '1.25']);
    expect(written([2.5, 5, 7.5], 2.5)).toEqual(['2.5', '5', '7.5']);
    expect(written([0.1, 0.2, 0.3], 0.1)).toEqual(['0.1', '0.2', '0.3']);
  });

  test('a log axis over many decades names only these', () => {
    expect(logTicks([1, 2, 5, 10, 100], 6)).toEqual(['1', null, null, '10', '100']);
    expect(logTicks([0.2, 0.3, 0.5], 0.5)).toEqual(['0.2', '0.3', '0.5']);
  });

  test('the end of x stays where it is while a curve grows a little', () => {
    expect(roundEnd(0, 1999)).toBe(2000);
    expect(new Set([1951, 1970, 1999].map((to) => roundEnd(0, to))).size).toBe(1);
    expect(roundEnd(5, 5)).toBe(5);
  });

  test('values and pixels are each other backwards, and a flat curve has room', () => {
    for (const isLog of [true, false])
      for (const at of [0, 0.25, 1])
        expect(share({ from: 2, to: 50, isLog }, unshare({ from: 2, to: 50, isLog }, at))).toBeCloseTo(at);
    const [low, high] = airy(3, 3, false);
    expect(low).toBeLessThan(3);
    expect(high).toBeGreaterThan(3);
    expect(airy(NaN, NaN, true)[0]).toBeGreaterThan(0);
  });
});
