import { expect, test } from 'vitest';

import { allKeys } from './otherKeys';

const here = [
  { keys: ['n'], does: 'New run', group: 'Everywhere' },
  { keys: ['Shift+Space'], does: 'Let the queue go on', group: 'Queue' },
];

test('the list of keys begins with the place one is at and holds all others, each once', () => {
  const groups = [...new Set(allKeys(here).map((key) => key.group))];
  expect(groups.slice(0, 2)).toEqual(['Queue', 'Everywhere']);
  expect(groups).toEqual(expect.arrayContaining(['Runs', 'Charts', 'Insight', 'Models']));
  expect(allKeys(here).filter((key) => key.keys.includes('Shift+Space'))).toHaveLength(1);
});

test('what the pointer does in a chart is said', () => {
  expect(allKeys([]).map((key) => key.does)).toContain('Zoom about the pointer');
});
