import { expect, test } from 'vitest';

import {
  addedRow,
  isChanged,
  makeRows,
  problemOfKey,
  readRows,
  sumOf,
  withPasted,
  type ConfigEntry,
  type Row,
  type ScriptView,
} from './rows';
import type { Value } from './values';

const entry = (key: string, value: unknown): ConfigEntry =>
  ({ key, value, parent: null, is_changed: false, is_read: true }) as ConfigEntry;
const script = {
  settings: [
    { key: 'lr', kind: 'float', default: 0.1, has_default: true, choices: [], help: 'Step size.', is_read: true },
    { key: 'data', kind: 'str', default: null, has_default: false, choices: [], help: '', is_read: true },
  ],
} as unknown as ScriptView;

test('rows come from the run, then from what its script declares beyond it', () => {
  const rows = makeRows(script, [entry('lr', 1), entry('amp', true)]);
  expect(rows.map((row) => [row.key, row.kind, row.text])).toEqual([
    ['lr', 'float', '1'],
    ['amp', 'bool', 'true'],
    ['data', 'str', ''],
  ]);
});

test('nothing typed asks for nothing: the script keeps its defaults', () => {
  expect(readRows(makeRows(script, null))).toEqual({ config: {}, several: {}, problems: {}, warnings: {} });
});

test('what is typed is asked for, several values apart, mistakes by key', () => {
  const rows = makeRows(script, [entry('lr', 0.1), entry('depth', 4), entry('amp', true)]);
  rows[0]!.text = '0.1, 0.01';
  rows[1]!.text = 'x';
  rows[2]!.text = 'off';
  expect(readRows(rows)).toMatchObject({
    config: { amp: false },
    several: { lr: [0.1, 0.01] },
    problems: { depth: 'must be a whole number' },
  });
});

test('another spelling of the same value is no change', () => {
  const [lr] = makeRows(script, [entry('lr', 0.1)]);
  expect(isChanged({ ...lr!, text: '1e-1' })).toBe(false);
  expect(isChanged({ ...lr!, text: '1e-2' })).toBe(true);
});

test('pasted settings fill their rows and add the rest, changed ones first', () => {
  const rows = withPasted(makeRows(script, [entry('amp', true), entry('lr', 0.1)]), { lr: 0.01, width: 64 });
  expect(rows.map((row) => [row.key, row.text, isChanged(row)])).toEqual([
    ['lr', '0.01', true],
    ['width', '64', true],
    ['amp', 'true', false],
    ['data', '', false],
  ]);
});

test('a key is a name, once', () => {
  const rows = [addedRow('lr')];
  expect(problemOfKey('lr', rows)).toBe('is there already');
  expect(problemOfKey('1x', rows)).not.toBe(null);
  expect(problemOfKey('optimizer.lr', rows)).toBe(null);
});

test('the sum says which values are combined with which', () => {
  const one = (key: string, before: Value, text: string): Row => ({
    ...addedRow(key, before),
    before,
    text,
    isAdded: false,
  });
  expect(sumOf([one('lr', 0.1, '0.1')])).toBe('Nothing is changed');
  expect(sumOf([one('lr', 0.1, '0.1, 0.2'), one('layers', [8], '[8,8],[4,4]')])).toBe(
    'lr 0.1 → [0.1, 0.2] × layers [8] → [[8,8], [4,4]]',
  );
  expect(sumOf([one('lr', 0.1, '0.1, 0.2'), one('depth', 2, '4'), one('name', 'a', 'b')])).toBe(
    'depth 2 → 4, name a → b and 1 more',
  );
});
