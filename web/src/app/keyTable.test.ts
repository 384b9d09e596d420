import { expect, test } from 'vitest';

import { KEYS, allKeys } from './keyTable';

const here = [{ keys: ['Shift+Space'], does: 'Pause the queue, or let it go on', group: 'Queue' }];

test('the list of keys begins with the place one is at and holds all others, each once', () => {
  const all = allKeys(here);
  expect(all.map(([group]) => group)).toEqual([
    'Queue',
    'Everywhere',
    'Runs',
    'Charts',
    'Insight',
    'Models',
    'Run',
    'New run',
  ]);
  for (const [group, keys] of all) expect(new Set(keys.map((key) => key.does)).size, group).toBe(keys.length);
});

test('what the pointer does in a chart is said', () => {
  expect(new Map(allKeys([])).get('Charts')?.map((key) => key.does)).toContain('Zoom about the pointer');
});

test('no two keys of one part of the page are the same', () => {
  for (const [part, { keys }] of Object.entries(KEYS)) {
    const pressed = Object.values<readonly string[]>(keys).flatMap(([all]) => all!.split(' '));
    expect(new Set(pressed).size, part).toBe(pressed.length);
  }
});

test('each part of the table is answered to by a part of the page, and by one alone', () => {
  const sources = import.meta.glob<string>('../**/*.tsx', { query: '?raw', import: 'default', eager: true });
  const calls = Object.values(sources).flatMap((source) => [...source.matchAll(/useKeys\('(\w+)'/g)]);
  expect(calls.map((call) => call[1]).sort()).toEqual(Object.keys(KEYS).sort());
});
