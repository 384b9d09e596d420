import { expect, test } from 'vitest';

import { apart, axisOf, numberAt, place, shareOf, ticksOf, tickText } from './axes';

test('values over many powers of ten get a log axis, others a linear one', () => {
  expect(axisOf('lr', 'lr', [1e-5, 1e-2]).kind).toBe('log');
  expect(axisOf('depth', 'depth', [4, 8]).kind).toBe('linear');
  expect(axisOf('x', 'x', [0, 1000]).kind).toBe('linear');
});

test('none and NaN have ticks of their own and no part in the range', () => {
  const axis = axisOf('loss', 'loss', [1, null, 'nan', 3, undefined]);
  expect([axis.low, axis.high, axis.hasNone, axis.hasNan]).toEqual([1, 3, true, true]);
  expect([place(axis, null), place(axis, 'nan'), place(axis, 2)]).toEqual(['none', 'nan', 0.5]);
});

test('words and booleans are categories, each with its place', () => {
  const axis = axisOf('optimizer', 'optimizer', ['sgd', 'adamw', 'sgd', true]);
  expect(axis.kind).toBe('category');
  expect(axis.categories).toHaveLength(3);
  expect(new Set(axis.categories.map((value) => place(axis, value))).size).toBe(3);
  expect(place(axis, 'unheard of')).toBe(null);
});

test('a value that never differs stands in the middle', () => {
  const axis = axisOf('seed', 'seed', [7, 7]);
  expect(place(axis, 7)).toBeCloseTo(0.5);
});

test('a number is where its share is', () => {
  for (const axis of [axisOf('a', 'a', [1e-5, 1]), axisOf('b', 'b', [-3, 9])]) {
    for (const share of [0, 0.25, 0.9, 1]) expect(shareOf(axis, numberAt(axis, share))).toBeCloseTo(share);
  }
});

const spread = ([low, high]: number[]) => Array.from({ length: 9 }, (_, at) => low! + ((high! - low!) * at) / 8);

test('few different values are ticks themselves', () => {
  expect(ticksOf(axisOf('channels', 'channels', [16, 32, 64, 32])).map((tick) => tick.text)).toEqual([
    '16',
    '32',
    '64',
  ]);
});

test('ticks lie on the axis, few and round', () => {
  expect(ticksOf(axisOf('a', 'a', [0, 1, 2, 3, 4, 5, 10])).map((tick) => tick.text)).toEqual([
    '0',
    '2',
    '4',
    '6',
    '8',
    '10',
  ]);
  expect(ticksOf(axisOf('a', 'a', [1e-5, 2e-5, 3e-5, 4e-5, 5e-5, 6e-5, 1e-2])).map((tick) => tick.text)).toEqual([
    '1e-5',
    '1e-4',
    '0.001',
    '0.01',
  ]);
  for (const values of [
    [3, 4],
    [1e-9, 1e9],
    [0.1, 0.11],
    [2, 90],
  ]) {
    const ticks = ticksOf(axisOf('a', 'a', spread(values)));
    expect(ticks.length).toBeGreaterThanOrEqual(2);
    expect(ticks.length).toBeLessThanOrEqual(8);
    for (const { share } of ticks) expect(share).toBeGreaterThanOrEqual(-0.35);
  }
});

test('large numbers are short', () => {
  expect(tickText(1234567)).toBe('1.235M');
  expect(tickText(50000)).toBe('50k');
});

test('of ticks that would be written over each other, one is', () => {
  const ticks = ticksOf(axisOf('acc', 'acc', [0.5, 0.9961, 1]));
  expect(apart(ticks, 200, 14).map((tick) => tick.text)).toEqual(['0.5', '0.9961']);
  expect(apart(ticks, 4000, 14)).toHaveLength(3);
});
