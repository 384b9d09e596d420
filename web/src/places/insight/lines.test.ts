import { expect, test } from 'vitest';

import { axisOf } from './axes';
import { NAN_BELOW, NONE_BELOW, axisX, layLines, linePath, nearestLine } from './lines';

const box = { width: 300, height: 200, top: 20, bottom: 60, left: 50, right: 50 };
const values = new Map<string, (number | string | null)[]>([
  ['lr', [0, 5, 10]],
  ['loss', [10, null, 'nan']],
]);
const axes = [axisOf('lr', 'lr', values.get('lr')!), axisOf('loss', 'loss', [...values.get('loss')!, 20])];
const ys = layLines(box, axes, values, 3);

test('axes go from the left edge to the right one', () => {
  expect([axisX(box, 0, 2), axisX(box, 1, 2)]).toEqual([50, 250]);
});

test('a value stands between the ends of its axis; none and NaN below it', () => {
  expect([ys[0], ys[2], ys[4]]).toEqual([140, 80, 20]);
  expect([ys[1], ys[3], ys[5]]).toEqual([140, 140 + NONE_BELOW, 140 + NAN_BELOW]);
});

test('the pointer finds the nearest line that passes the brushes', () => {
  expect(nearestLine(box, ys, 2, [true, true, true], 50, 82)).toBe(1);
  expect(nearestLine(box, ys, 2, [true, false, true], 50, 82)).toBe(null);
  expect(nearestLine(box, ys, 2, [true, true, true], 150, 140)).toBe(0);
});

test('a line has a gap where an axis has no place for a value', () => {
  expect(linePath(box, ys, 2, 0)).toBe('M50.0 140.0L250.0 140.0');
  expect(linePath(box, Float32Array.from([1, NaN, 3]), 3, 0)).toBe('M50.0 1.0M250.0 3.0');
});
