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

test.each([
  ['opt: "adam" # the best', { opt: 'adam' }],
  ["opt: 'it''s' # so", { opt: "it's" }],
  ["who: it's # me", { who: "it's" }],
  ['name: "a \\" # b" # c', { name: 'a " # b' }],
  ['model: {hidden: 4, act: relu}', { 'model.hidden': 4, 'model.act': 'relu' }],
  [
    'model: {block: {width: 2}, "of, all": [a, "b, c"], none: {}}',
    { 'model.block.width': 2, 'model.of, all': ['a', 'b, c'], 'model.none': {} },
  ],
  ['betas: [[0.9, 0.99], []] # two', { betas: [[0.9, 0.99], []] }],
  ['url: http://host:80/x#y', { url: 'http://host:80/x#y' }],
  ['stages:\n  - "conv" # first\n  - {width: 2}', { stages: ['conv', { width: 2 }] }],
])('%s is read as YAML reads it', (text, config) => {
  expect(readPasted(text)).toEqual({ config });
});

test.each([
  ['lr: [0.1', /bracket is not closed/],
  ['model: {hidden: 4', /bracket is not closed/],
  ['model: {hidden 4}', /key: value/],
  ['opt: "adam', /quote is not closed/],
  ['opt: "adam" or sgd', /or sgd stands after/],
  ['lr: [0.1] 2', /2 stands after/],
  ['lr: [0.1,, 2]', /value is missing/],
  ['a: b: c', /no single value/],
  ['layers:\n  - name: conv', /no single value/],
  ['layers:\n  - - 1', /list of lists/],
  ['lr: 1\n  wd: 2', /has a value already/],
])('%s is refused, and not taken for a text', (text, problem) => {
  const read = readPasted(text);
  expect('problem' in read ? read.problem : read.config).toMatch(problem);
});
