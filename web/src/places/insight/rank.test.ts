import { expect, test } from 'vitest';

import { effectOf, mostTelling, ranksOf } from './rank';

const many = Array.from({ length: 40 }, (_, at) => at);

test('a setting that orders the metric has effect 1, one that does not has about 0', () => {
  expect(
    effectOf(
      many,
      many.map((x) => x ** 3),
    ),
  ).toMatchObject({ size: 1, sign: 1, runs: 40 });
  expect(
    effectOf(
      many,
      many.map((x) => -x),
    ),
  ).toMatchObject({ size: 1, sign: -1 });
  const shuffled = many.map((x) => (x * 17) % 40);
  expect(
    effectOf(
      shuffled,
      many.map((x) => (x * 29) % 40),
    ),
  ).toMatchObject({ runs: 40 });
});

test('words have an effect by the share of ranks between them', () => {
  const split = effectOf(
    many.map((x) => (x < 20 ? 'a' : 'b')),
    many,
  );
  const mixed = effectOf(
    many.map((x) => (x % 2 ? 'a' : 'b')),
    many,
  );
  expect('size' in split && split.size).toBeGreaterThan(0.8);
  expect('size' in mixed && mixed.size).toBeLessThan(0.1);
});

test('too few runs say so, and so does a setting that never differs', () => {
  expect(effectOf([1, 2, 3], [1, 2, 3])).toEqual({ tooFew: 3 });
  expect(
    effectOf(
      many.map(() => 1),
      many,
    ),
  ).toEqual({ tooFew: 40 });
});

test('none and NaN take no part', () => {
  const metric = many.map((x) => (x < 35 ? 'nan' : x));
  expect(effectOf(many, metric)).toEqual({ tooFew: 5 });
});

test('equal values share their rank', () => {
  expect(ranksOf([3, 1, 3, 2])).toEqual([3.5, 1, 3.5, 2]);
});

test('the setting that tells most is the first; of few runs the one that varies most', () => {
  const settings = [{ name: 'epochs' }, { name: 'lr' }];
  const few = new Map([
    ['epochs', [1, 1, 2]],
    ['lr', [0.1, 0.2, 0.3]],
  ]);
  expect(mostTelling(settings, few, [1, 2, 3])).toBe('lr');
  const enough = new Map([
    ['epochs', many.map((at) => at % 4)],
    ['lr', many.map((at) => (at * 17) % 40)],
  ]);
  expect(
    mostTelling(
      settings,
      enough,
      many.map((at) => at % 4),
    ),
  ).toBe('epochs');
});
