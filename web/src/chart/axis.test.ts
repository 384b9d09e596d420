import { expect, test } from 'vitest';
import { numberTick } from './axis';

test('ticks that are evenly spaced are written so', () => {
  expect([0.25, 0.5, 0.75, 1, 1.25].map((value) => numberTick(value, 0.25))).toEqual([
    '0.25',
    '0.5',
    '0.75',
    '1',
    '1.25',
  ]);
  expect([2.5, 5, 7.5].map((value) => numberTick(value, 2.5))).toEqual(['2.5', '5', '7.5']);
  expect([0.1, 0.2, 0.3].map((value) => numberTick(value, 0.1))).toEqual(['0.1', '0.2', '0.3']);
});
