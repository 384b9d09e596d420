import { expect, test } from 'vitest';

import { isTrouble, plainOf, spansOf } from './ansi';

test('colours become spans', () => {
  const spans = spansOf('a \x1b[31mred\x1b[0m \x1b[1;92mbold\x1b[m b');
  expect(spans.map((span) => [span.text, span.colour, span.isBold])).toEqual([
    ['a ', null, false],
    ['red', 1, false],
    [' ', null, false],
    ['bold', 10, true],
    [' b', null, false],
  ]);
});

test('256 and true colours become the nearest of the sixteen', () => {
  expect(spansOf('\x1b[38;5;196mx')[0]!.colour).toBe(9);
  expect(spansOf('\x1b[38;2;0;0;180mx')[0]!.colour).toBe(4);
  expect(spansOf('\x1b[48;5;2mx')[0]!.background).toBe(2);
});

test('everything else of a terminal is dropped, its text is kept', () => {
  expect(
    plainOf('\x1b[2J\x1b[10;5Ha\x1b]0;title\x07b\x1b]8;;http://x\x1b\\c\x1b]8;;\x1b\\\x1b(Bd\x1b[?25l\x00\x08e'),
  ).toBe('abcde');
  expect(plainOf('\x1b]52;c;c3RlYWw=\x07x')).toBe('x');
  expect(plainOf('\x1b[')).toBe('');
});

test('a progress bar shows what it showed last', () => {
  expect(plainOf('10%\r50%\r100%')).toBe('100%');
  expect(plainOf('done\r')).toBe('done');
});

test('markup stays text', () => {
  expect(plainOf('<img src=x onerror=alert(1)>')).toBe('<img src=x onerror=alert(1)>');
});

test('a megabyte of unfinished sequences takes no longer than a megabyte of text', () => {
  expect(plainOf('\x1b['.repeat(500_000))).toBe('');
  expect(plainOf('\x1b]'.repeat(500_000))).toBe('');
});

test('trouble is a word, not a part of one', () => {
  expect(isTrouble('ValueError: shapes')).toBe(true);
  expect(isTrouble('Errors so far: 0')).toBe(false);
  expect(isTrouble('CUDA out of memory')).toBe(true);
  expect(isTrouble('banana')).toBe(false);
});
