import { expect, test } from 'vitest';

import { passes, readBrushes, writeBrushes, type Brush } from './brushes';

const NAMES = ['lr', 'optimizer', 'config.wd', 'metric["val loss"]', 'min(val/loss)'];

test('brushes become a query that people read', () => {
  const brushes = new Map<string, Brush>([
    ['lr', { low: 1e-4, high: 0.01 }],
    ['optimizer', { values: ['sgd', 'adamw'] }],
    ['config.wd', { missing: 'none' }],
    ['min(val/loss)', { missing: 'nan' }],
  ]);
  expect(writeBrushes('starred', brushes)).toBe(
    'starred and 1e-4 <= lr <= 0.01 and optimizer in ["sgd", "adamw"] and config.wd is None and min(val/loss) != min(val/loss)',
  );
});

test('what was written is read back, whatever stood before it', () => {
  const cases: Map<string, Brush>[] = [
    new Map(),
    new Map<string, Brush>([['lr', { low: -1, high: 2.5 }]]),
    new Map<string, Brush>([
      ['optimizer', { values: ['a and b', 'q"u'] }],
      ['metric["val loss"]', { low: 0.1, high: 0.2 }],
    ]),
    new Map<string, Brush>([
      ['config.wd', { values: [true, 1, null] }],
      ['min(val/loss)', { missing: 'nan' }],
    ]),
  ];
  for (const base of ['', 'starred', 'a > 1 and "x and y" in tags', 'a or b']) {
    for (const brushes of cases) {
      if (base === 'a or b' && brushes.size === 0) continue;
      const read = readBrushes(writeBrushes(base, brushes), NAMES);
      expect([read.base, [...read.brushes]]).toEqual([base, [...brushes]]);
    }
  }
});

test("a query with an 'or' of its own is left as it is, in brackets", () => {
  expect(readBrushes('a or 1 <= lr <= 2', NAMES)).toEqual({ base: 'a or 1 <= lr <= 2', brushes: new Map() });
  expect(writeBrushes('a or b', new Map([['lr', { low: 1, high: 2 }]]))).toBe('(a or b) and 1 <= lr <= 2');
});

test('a brush tells which values pass', () => {
  expect(passes({ low: 1, high: 2 }, 1.5, false)).toBe(true);
  expect(passes({ low: 1, high: 2 }, null, false)).toBe(false);
  expect(passes({ values: ['a'] }, 'a', false)).toBe(true);
  expect(passes({ missing: 'none' }, null, false)).toBe(true);
  expect(passes({ missing: 'nan' }, 'nan', true)).toBe(true);
});
