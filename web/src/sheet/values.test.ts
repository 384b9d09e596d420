import { expect, test } from 'vitest';

import { number } from '../parts/format';
import { isSame, kindOf, readOne, spell, spellNumber, splitTop, type Value } from './values';

const value = (text: string, kind: Parameters<typeof readOne>[1]) => {
  const read = readOne(text, kind);
  return 'value' in read ? read.value : read.problem;
};

test('a number is written as tables write it, and is the same number', () => {
  for (const each of [0.003, 0.0003, 0.5, -0.002]) expect(spellNumber(each)).toBe(number(each).replace('−', '-'));
  expect(spellNumber(0.0003)).toBe('3e-4');
  expect(spellNumber(0.01)).toBe('0.01');
  expect(spellNumber(128)).toBe('128');
  expect(spellNumber(200000)).toBe('200000');
  expect(spellNumber(-0.5)).toBe('-0.5');
});

test.each<[string, Parameters<typeof readOne>[1], Value]>([
  ['3e-4', 'float', 3e-4],
  ['.5', 'float', 0.5],
  ['1', 'float', 1],
  ['1e3', 'int', 1000],
  ['none', 'int', null],
  ['on', 'bool', true],
  ['False', 'bool', false],
  ['0', 'bool', false],
  ['adam', 'str', 'adam'],
  ['1', 'str', '1'],
  ['"a, b"', 'str', 'a, b'],
  ['[1, 2]', 'list', [1, 2]],
  ['1, 2', 'list', [1, 2]],
  ['[adam, sgd]', 'list', ['adam', 'sgd']],
  ['(1, 2)', 'list', [1, 2]],
  ['[]', 'list', []],
  ['true', 'unknown', true],
  ['0.1', 'unknown', 0.1],
  ['x', 'unknown', 'x'],
  ['{"a": 1}', 'unknown', { a: 1 }],
])('%s as %s is its value', (text, kind, expected) => {
  expect(value(text, kind)).toEqual(expected);
});

test.each<[string, Parameters<typeof readOne>[1], RegExp]>([
  ['abc', 'float', /must be a number/],
  ['0,1', 'float', /write 0\.1/],
  ['maybe', 'bool', /true or false/],
  ['', 'int', /missing/],
  ['1e999', 'float', /too large/],
  ['9007199254740993', 'int', /too large/],
  ['[1, 2', 'list', /bracket/],
])('%s as %s is refused', (text, kind, expected) => {
  expect(value(text, kind)).toMatch(expected);
});

test('a fraction where a whole number stood is a value, with a warning', () => {
  expect(readOne('0.5', 'int')).toEqual({ value: 0.5, warning: 'was a whole number until now' });
});

test('what a row shows of a value is read as that value again', () => {
  const values: Value[] = [
    0,
    -1,
    3e-4,
    1e21,
    true,
    false,
    null,
    'adam',
    '',
    '1',
    'true',
    'none',
    'a, b',
    ' x ',
    '"q"',
    '1…2',
    'a..b',
    '[x',
    [1, 'a'],
    [],
    { a: [1] },
  ];
  for (const one of values) {
    const kind = kindOf(one);
    expect([one, value(spell(one, kind), kind)]).toEqual([one, one]);
  }
});

test('commas in brackets and quotes divide nothing', () => {
  expect(splitTop('1, [2, 3], "a, b", {"x": 1, "y": 2}').map((part) => part.trim())).toEqual([
    '1',
    '[2, 3]',
    '"a, b"',
    '{"x": 1, "y": 2}',
  ]);
});

test('values are the same by what they hold', () => {
  expect(isSame({ a: 1, b: [2] }, { b: [2], a: 1 })).toBe(true);
  expect(isSame([1, 2], [2, 1])).toBe(false);
  expect(isSame(1, true)).toBe(false);
  expect(isSame(null, undefined)).toBe(false);
});
