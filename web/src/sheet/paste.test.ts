import { expect, test } from 'vitest';

import { readPasted } from './paste';

test('JSON is read, nested settings under dotted keys', () => {
  expect(readPasted('{"lr": 0.1, "optimizer": {"name": "adam", "betas": [0.9, 0.99]}, "empty": {}}')).toEqual({
    config: { lr: 0.1, 'optimizer.name': 'adam', 'optimizer.betas': [0.9, 0.99], empty: {} },
  });
});

test('YAML is read: comments, nesting, both kinds of lists', () => {
  const text = `# my settings
lr: 3e-4   # small
amp: true
name: "a # b"
optimizer:
  name: adam
  betas: [0.9, 0.99]
layers:
  - 1
  - 2
stages: [conv, pool]
nothing:
after: 1
`;
  expect(readPasted(text)).toEqual({
    config: {
      lr: 3e-4,
      amp: true,
      name: 'a # b',
      'optimizer.name': 'adam',
      'optimizer.betas': [0.9, 0.99],
      layers: [1, 2],
      stages: ['conv', 'pool'],
      nothing: null,
      after: 1,
    },
  });
});

test('key=value lines are read, too', () => {
  expect(readPasted('lr=0.1\noptimizer.name=sgd')).toEqual({ config: { lr: 0.1, 'optimizer.name': 'sgd' } });
});

test('a mistake names its line', () => {
  expect(readPasted('lr: 0.1\nwhat is this')).toMatchObject({ line: 2 });
  expect(readPasted('a: &anchor 1')).toMatchObject({ line: 1 });
  expect(readPasted('{"lr": }')).toHaveProperty('problem');
  expect(readPasted('   ')).toHaveProperty('problem');
});
