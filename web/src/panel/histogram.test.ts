import { expect, test } from 'vitest';

import { barsPath, edgesPath } from './histogram';

test('the tallest bar fills the box, a single count still shows', () => {
  const path = barsPath([100, 0, 1], 30, 20);
  expect(path).toBe('M0 20v-20h10v20zM20 20v-1h10v1z');
});

test('nothing counted draws nothing', () => {
  expect(barsPath([], 30, 20)).toBe('');
  expect(barsPath([0, 0], 30, 20)).toBe('');
});

test('a wide bin is drawn by its density', () => {
  expect(edgesPath([0, 1, 3], [10, 10], 30, 20)).toBe('M0 20v-20h10v20zM10 20v-10h20v10z');
});
