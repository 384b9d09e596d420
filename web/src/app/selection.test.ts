import { expect, test } from 'vitest';

import { hiddenOf, runningAndLatest } from './selection';

const row = (name: string, state: string) => ({ name, state }) as Parameters<typeof runningAndLatest>[0][number];
const finished = Array.from({ length: 14 }, (_, at) => row(`run-${at}`, 'finished'));

test('drafts and waiting runs take none of the ten places', () => {
  const names = runningAndLatest([row('draft', 'draft'), row('waiting', 'queued'), ...finished]);
  expect(names).toEqual(finished.slice(0, 10).map((one) => one.name));
});

test('what runs is shown, however old', () => {
  expect(runningAndLatest([...finished, row('old', 'running')])).toHaveLength(11);
});

test('what was chosen by hand and does not pass the filter is counted', () => {
  expect(hiddenOf(['a', 'b', 'c'], ['b', 'd'])).toBe(2);
  expect(hiddenOf(['a'], ['a', 'b'])).toBe(0);
});
