import { expect, test } from 'vitest';

import type { QueueView } from '../../api/types';
import { moved, moveTo } from './order';
import { outlook } from './outlook';
import { areaPaths } from './strip';

const order = ['a', 'b', 'c'];

test('a run is put before another, or last', () => {
  expect(moveTo(order, 'c', 0)).toEqual({ name: 'c', before: 'a', last: false });
  expect(moveTo(order, 'a', 2)).toEqual({ name: 'a', before: null, last: true });
  expect(moveTo(order, 'a', 1)).toEqual({ name: 'a', before: 'c', last: false });
});

test('a move to where it is asks nothing', () => {
  expect(moveTo(order, 'b', 1)).toBe(null);
  expect(moveTo(order, 'gone', 1)).toBe(null);
});

test('the order shown at once is the order asked for', () => {
  for (const name of order) {
    for (const to of [0, 1, 2]) {
      const move = moveTo(order, name, to);
      if (move) expect(moved(order, move).indexOf(name)).toBe(to);
    }
  }
});

test('a strip has a gap where nothing was sampled', () => {
  const samples = [0, 2, 4, 100, 102].map((time) => ({ time, share: 0.5 }));
  const { line } = areaPaths(samples, 102, 600, 20);
  expect(line.match(/M/g)).toHaveLength(2);
  expect(areaPaths([{ time: 0, share: null }], 0, 600, 20).line).toBe('');
});

test('the queue says how long it takes, and what it does not know of that', () => {
  const queue = { left_s: 14, unknown: 0, running: [{}], waiting: [{}] } as QueueView;
  expect(outlook(queue)).toBe(' · all done in about 14 s');
  expect(outlook({ ...queue, unknown: 1 })).toBe(
    ' · all done in at least 14 s: how long 1 of them will take is unknown',
  );
  expect(outlook({ ...queue, left_s: null, unknown: 2 })).toBe('');
});
