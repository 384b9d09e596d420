import { expect, test } from 'vitest';
import { metricsOf, withCurve } from './metrics';

const row = (name: string, state: string, ...metrics: string[]) =>
  ({ name, state, metrics: Object.fromEntries(metrics.map((key) => [key, 1])) }) as Parameters<
    typeof metricsOf
  >[0][number];

const rows = [
  row('one', 'finished', 'lr', 'val/acc', 'train/loss'),
  row('two', 'running', 'lr'),
  row('three', 'finished', 'train/loss'),
];

test('the first charts are those of a loss, then those of which it is known what is better', () => {
  expect(metricsOf(rows, null).map((one) => one.key)).toEqual(['train/loss', 'val/acc', 'lr']);
  expect(metricsOf(rows, null).map((one) => one.runs)).toEqual([2, 1, 2]);
});

test('a chart has the runs that have logged its metric, and those that still may', () => {
  expect(withCurve(rows, 'train/loss')).toEqual(['one', 'two', 'three']);
  expect(withCurve(rows, 'val/acc')).toEqual(['one', 'two']);
});
