import { expect, test } from 'vitest';
import type { Columns } from '../../api/types';
import { groupKey, groupName, looksOf, overSeeds } from './groups';

test('runs with the same settings are one group, and True is another than 1', () => {
  const by = ['lr', 'amp'];
  expect(groupKey(by, { lr: 0.1, amp: true, seed: 1 })).toBe(groupKey(by, { amp: true, lr: 0.1, seed: 2 }));
  expect(groupKey(by, { lr: 0.1, amp: true })).not.toBe(groupKey(by, { lr: 0.1, amp: 1 }));
  expect(groupKey(by, { lr: 0.1 })).not.toBe(groupKey(by, { lr: 0.1, amp: null }));
  expect(groupName(by, { lr: 0.1 })).toBe('lr 0.1 · amp –');
});

test('a run that has none of the settings is in no group', () => {
  expect(groupKey(['lr'], { seed: 1 })).toBeNull();
});

test('groups have looks in the order of their values, and keep them when others come', () => {
  const group = (lr: number) => ({ values: { lr } });
  const first = looksOf(['lr'], [group(10), group(2)]);
  expect([2, 10].map((lr) => first.get(groupKey(['lr'], { lr })!)?.colour)).toEqual([0, 1]);
  const then = looksOf(['lr'], [group(1), group(10), group(2)], first);
  expect([1, 2, 10].map((lr) => then.get(groupKey(['lr'], { lr })!)?.colour)).toEqual([2, 0, 1]);
  const many = looksOf(
    ['lr'],
    Array.from({ length: 10 }, (_, at) => group(at)),
  );
  expect(many.get(groupKey(['lr'], { lr: 9 })!)).toEqual({ colour: 1, mark: 1 });
});

test('over seeds means by all settings that differ but the seed', () => {
  const known = (distinct: Record<string, number>) =>
    ({
      config: Object.entries(distinct).map(([key, n]) => ({ key, name: key, kind: 'int', runs: 4, distinct: n })),
    }) as Columns;
  expect(overSeeds(known({ lr: 3, seed: 2, epochs: 1, width: 2 }))).toEqual(['lr', 'width']);
  expect(overSeeds(known({ epochs: 1, 'data.seed': 5 }))).toEqual(['epochs']);
  expect(overSeeds(known({ lr: 3, seed: 1 }))).toBeNull();
  expect(overSeeds(known({ seed: 5 }))).toBeNull();
});
