import { describe, expect, test } from 'vitest';
import type { Columns } from '../../api/types';
import { usualColumns, withSorted } from './columns';

const known: Columns = {
  facts: [],
  config: [{ key: 'lr', name: 'lr', kind: 'float', runs: 5, distinct: 3 }],
  metrics: [
    { key: 'val_loss', name: 'val_loss', group: '', runs: 5, direction: 'min' },
    { key: 'acc', name: 'acc', group: '', runs: 5, direction: 'max' },
  ],
  tags: [],
  scripts: [],
};

describe('the usual columns', () => {
  const usual = usualColumns(known);

  test('are the settings that differ and the metrics that say how good a run is', () => {
    expect(usual).toEqual(['fact:state', 'metric:val_loss', 'config:lr', 'metric:acc', 'fact:step', 'fact:created']);
  });

  test('have the one that the table is sorted by beside the state, whatever it is', () => {
    expect(withSorted(usual, 'best(acc)', known).slice(0, 3)).toEqual([
      'fact:state',
      'metric:acc|best',
      'metric:val_loss',
    ]);
    expect(withSorted(usual, 'size', known)[1]).toBe('fact:size');
    expect(withSorted(['fact:state'], 'lr', known)).toEqual(['fact:state', 'config:lr']);
  });

  test('stay as they are when it is among them, or is none', () => {
    for (const sort of ['', 'lr', 'acc', 'val_loss', 'created', 'nobody_knows', 'best(nobody)'])
      expect(withSorted(usual, sort, known)).toEqual(usual);
  });
});
