import { expect, test } from 'vitest';

import { edgePath, layTree } from './tree';

const nodes = (...names: string[]) => names.map((name) => ({ name }));

test('a line of fine-tunings stands on one row, a second child on the next', () => {
  const tree = layTree(nodes('base', 'a', 'b', 'c'), [
    { parent: 'base', child: 'a' },
    { parent: 'a', child: 'b' },
    { parent: 'base', child: 'c' },
  ]);
  expect(tree.nodes).toEqual([
    { name: 'base', layer: 0, row: 0 },
    { name: 'a', layer: 1, row: 0 },
    { name: 'b', layer: 2, row: 0 },
    { name: 'c', layer: 1, row: 1 },
  ]);
  expect([tree.layers, tree.rows]).toEqual([3, 2]);
});

test('two families do not share rows', () => {
  const tree = layTree(nodes('a', 'b', 'c'), [{ parent: 'b', child: 'c' }]);
  expect(tree.nodes.map((node) => node.row)).toEqual([0, 1, 1]);
});

test('a circle or a stranger breaks nothing: every run is placed once', () => {
  const tree = layTree(nodes('a', 'b'), [
    { parent: 'a', child: 'b' },
    { parent: 'b', child: 'a' },
    { parent: 'gone', child: 'a' },
  ]);
  expect(tree.nodes.map((node) => node.name)).toEqual(['a', 'b']);
});

test('a thousand generations are laid out', () => {
  const names = Array.from({ length: 1000 }, (_, at) => `r${at}`);
  const edges = names.slice(1).map((child, at) => ({ parent: names[at]!, child }));
  expect(layTree(nodes(...names), edges)).toMatchObject({ layers: 1000, rows: 1 });
});

test('an edge is straight on a row, bent between rows', () => {
  expect(edgePath(0, 10, 50, 10)).toBe('M0 10H50');
  expect(edgePath(0, 10, 50, 40)).toContain('Q');
});
