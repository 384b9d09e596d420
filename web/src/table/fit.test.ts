import { expect, test } from 'vitest';

import { fitted } from './fit';

const widths = (columns: readonly { width: number }[]) => columns.map((column) => column.width);
const name = { width: 100, isFixed: true };

test('no column is cut by the edge: the name takes what the whole ones leave free', () => {
  const columns = [{ width: 34, isFixed: true }, name, { width: 80 }, { width: 80 }];
  expect(widths(fitted(columns, 250))).toEqual([34, 136, 80, 80]);
  expect(widths(fitted(columns, 214))).toEqual([34, 100, 80, 80]);
});

test('where all have room, or nothing but the name has, widths are as they were', () => {
  const columns = [name, { width: 80 }];
  expect(fitted(columns, 400)).toBe(columns);
  expect(fitted(columns, 150)).toBe(columns);
  expect(fitted(columns, 0)).toBe(columns);
});

test('where none stays, the first wide one takes it', () => {
  expect(widths(fitted([{ width: 30 }, { width: 60 }, { width: 60 }, { width: 90 }], 200))).toEqual([30, 110, 60, 90]);
});
