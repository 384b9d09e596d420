import { expect, test } from 'vitest';

import type { Columns } from '../../api/types';
import { columnOf, readColumns, spellColumns, usualColumns, withSorted } from './columns';

test('columns come back out of the address as they went in', () => {
  const ids = ['metric:a,b', 'config:optimizer.lr', 'metric:val/loss: 5%'];
  expect(readColumns(spellColumns(ids))).toEqual(ids);
  expect(readColumns('')).toEqual([]);
});

test('a setting is sorted by under a name that no metric has', () => {
  expect(columnOf('config:loss')).toMatchObject({ key: 'loss', isSetting: true, sort: 'config.loss' });
  expect(columnOf('metric:loss')).toMatchObject({ key: 'loss', isSetting: false, sort: 'loss' });
});

test('what the list is sorted by is shown', () => {
  expect(withSorted(['metric:a'], 'config.lr')).toEqual(['config:lr', 'metric:a']);
  expect(withSorted(['metric:a'], 'a')).toEqual(['metric:a']);
  expect(withSorted(['metric:a'], 'saved_at')).toEqual(['metric:a']);
});

test('settings that differ are among the usual columns', () => {
  const known = {
    config: [
      { key: 'lr', distinct: 3 },
      { key: 'epochs', distinct: 1 },
    ],
  } as Columns;
  expect(usualColumns(['loss'], known)).toEqual(['metric:loss', 'config:lr']);
});
