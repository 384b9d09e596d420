import { expect, test } from 'vitest';

import { readSize } from './size';

test('sizes are read as the command line reads them', () => {
  expect(readSize('20 GB')).toBe(20e9);
  expect(readSize('1.5T')).toBe(1.5e12);
  expect(readSize('8GiB')).toBe(8 * 1024 ** 3);
  expect(readSize('100 b')).toBe(100);
  for (const wrong of ['', '20', 'GB', '-1 GB', '1e3 GB']) expect(readSize(wrong)).toBe(null);
});
