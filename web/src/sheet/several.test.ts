import { expect, test } from 'vitest';

import { countRuns, effect, preview, readField } from './several';
import type { Kind } from './values';

const values = (text: string, kind: Kind) => {
  const read = readField(text, kind);
  return 'values' in read ? read.values : read.problem;
};

test('values between commas are several, each once', () => {
  expect(values('0.1, 0.01', 'float')).toEqual([0.1, 0.01]);
  expect(values('0.1,0.1', 'float')).toEqual([0.1]);
  expect(values('sgd, adamw', 'str')).toEqual(['sgd', 'adamw']);
  expect(values('"a, b"', 'str')).toEqual(['a, b']);
  expect(values('true, false', 'bool')).toEqual([true, false]);
});

test('a list is one value, lists of lists are several', () => {
  expect(values('1, 2, 3', 'list')).toEqual([[1, 2, 3]]);
  expect(values('[1, 2], [3]', 'list')).toEqual([[1, 2], [3]]);
});

test('a log range has its ends and as many values as are asked for', () => {
  const range = values('1e-5…1e-2 log', 'float') as number[];
  expect(range).toHaveLength(12);
  expect([range[0], range[11]]).toEqual([1e-5, 1e-2]);
  expect(values('1e-5…1e-2 log ×4', 'float')).toEqual([1e-5, 1e-4, 1e-3, 1e-2]);
  expect(values('1e-5..1e-2 log 4', 'float')).toEqual([1e-5, 1e-4, 1e-3, 1e-2]);
});

test('a range of whole numbers has whole numbers', () => {
  expect(values('1…4', 'int')).toEqual([1, 2, 3, 4]);
  expect(values('4…1', 'int')).toEqual([4, 3, 2, 1]);
  expect((values('1…100', 'int') as number[]).every(Number.isInteger)).toBe(true);
  expect(values('16…128 log ×4', 'int')).toEqual([16, 32, 64, 128]);
});

test('a linear range is even', () => {
  expect(values('0…1 ×5', 'float')).toEqual([0, 0.25, 0.5, 0.75, 1]);
});

test.each<[string, Kind, RegExp]>([
  ['0…1 log', 'float', /above 0/],
  ['a…b', 'float', /from a number/],
  ['0.5…2', 'int', /whole/],
  ['1…1', 'int', /different ends/],
  ['0.1,', 'float', /after the comma/],
  ['0.1,,0.2', 'float', /between two commas/],
  ['0.1, x', 'float', /x must be a number/],
  ['0…1 ×1', 'float', /at least 2/],
  ['0…1 ×100000', 'float', /10,000/],
])('%s of %s is refused with a reason', (text, kind, expected) => {
  expect(values(text, kind)).toMatch(expected);
});

test('runs are counted over combinations and seeds, and the button says them', () => {
  expect(countRuns({ lr: [1, 2, 3], depth: [4, 8] }, 2)).toBe(12);
  expect(countRuns({}, 1)).toBe(1);
  expect(effect('Queue', 12, 'Queue')).toBe('Queue 12 runs');
  expect(effect('Run', 1, 'Run now')).toBe('Run now');
  expect(effect('Run', 2, 'Run now')).toBe('Run 2 now');
});

test('a range shows its first and last values', () => {
  expect(preview([1e-5, 2e-5, 3e-5, 4e-5, 5e-5, 1e-2])).toBe('6 values: 1e-5, 2e-5, 3e-5, … 0.01');
});

test('several lists are told apart', () => {
  expect(
    preview([
      [8, 8],
      [4, 4],
    ]),
  ).toBe('2 values: [8,8], [4,4]');
});
