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

test.each([
  ['lr: 0.1\nwhat is this', 2],
  ['a: &anchor 1', 1],
  ['a: 1\n\nb: *anchor', 3],
  ['a: 1\nb: 2\na: 3', 3],
  ['{\n  "lr": 0.1,\n  "wd": \n}', 3],
  ['a: 1\n---\nb: 2', 2],
])('%j: its mistake is in line %i', (text, line) => {
  expect(readPasted(text)).toMatchObject({ problem: expect.any(String) as string, line });
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
  ['1e-3', 1e-3],
  ['1E5', 1e5],
  ['+.5', 0.5],
  ['-3', -3],
  ['0x1F', 31],
  ['True', true],
  ['None', null],
  ['~', null],
  ['yes', 'yes'],
  ['off', 'off'],
  ['2026-11-27', '2026-11-27'],
  ['12:30', '12:30'],
  ['1_000', '1_000'],
  ['"0123"', '0123'],
  ['".inf"', '.inf'],
])('%s means the same as in YAML 1.2, and None what it is in Python', (text, value) => {
  expect(readPasted(`a: ${text}`)).toEqual({ config: { a: value } });
  expect(readPasted(`%YAML 1.1\n---\na: ${text}`)).toEqual({ config: { a: value } });
});

test.each([
  ['lr: [0.1', /end with a ]/],
  ['model: {hidden: 4', /end with a }/],
  ['model: {hidden 4}', /key: value/],
  ['opt: "adam', /Missing closing "quote/],
  ['opt: "adam" or sgd', /Unexpected scalar/],
  ['lr: [0.1] 2', /Unexpected scalar/],
  ['lr: [0.1,, 2]', /Unexpected ,/],
  ['{"lr": }', /no value/],
  ['layers:\n  -\n  - 1', /value is missing/],
  ['a: b: c', /two values/],
  ['layers:\n  - name: conv', /nested in a list/],
  ['layers:\n  - - 1', /nested in a list/],
  ['lr: 1\n  wd: 2', /two values/],
  ['lr=1\nwd: 2', /no key: value/],
  ['a: 1\n---\nb: 2', /second document/],
  ['a: !!str 1', /are not read here/],
  ['a: &b {c: 1}\nd: *b', /are not read here/],
  ['{a: 1, "a": 2}', /unique/],
  ['a.b: 1\na:\n  b: 2', /a\.b is there twice/],
  ['[a]: 1', /keys must be strings/],
  ['- 1', /settings have keys/],
  ['0.1', /settings have keys/],
  ['# nothing', /no settings/],
  ['   ', /nothing here yet/],
  ['a: 0123', /one number to some/],
  ['a: .inf', /cannot hold/],
  ['a: -.INF', /cannot hold/],
  ['a: .nan', /cannot hold/],
  ['{"a": NaN}', /cannot hold/],
  ['{"a": -Infinity}', /cannot hold/],
  ['a: 1e400', /cannot hold/],
  ['seed: 12345678901234567890', /too large/],
])('%j is refused, and not taken for a text', (text, problem) => {
  const read = readPasted(text);
  expect('problem' in read ? read.problem : read.config).toMatch(problem);
});

test('what is nested without end is refused, too', () => {
  expect(readPasted(`a: ${'['.repeat(10_000)}`)).toMatchObject({
    problem: expect.stringMatching(/too deep/) as string,
  });
});

const TEXTS = [
  '',
  ' a ',
  '0123',
  'yes',
  'None',
  '.inf',
  '1e-3',
  '-',
  '# no',
  'a: b',
  '- x',
  '&a',
  '*',
  '!!int 1',
  '---',
];
const ODD_TEXTS = [
  '%YAML 1.1',
  '\\d+"\'`',
  'a\n  b=c\n',
  '\t\r\0\u2028\ud83d\ude00\ud800',
  '{"a": 1}',
  '[1',
  '<<',
  '🙂',
  '__proto__',
];

test('a config that this page has copied is read back the same, whatever is in it', () => {
  const values = [0, 5e-324, 1.7976931348623157e308, 1e20, 2 ** 53, -1.5, true, false, null, [], {}, [[1, []], ['a']]];
  const all = [...values, ...TEXTS, ...ODD_TEXTS, [...TEXTS, ...ODD_TEXTS], [{ deep: [{ er: 'a' }] }]];
  const keys = [...TEXTS, ...ODD_TEXTS];
  for (const indent of [undefined, 2, '\t']) {
    for (const value of all) {
      const config = Object.fromEntries(keys.map((key) => [key, value]));
      expect(readPasted(JSON.stringify(config, null, indent))).toEqual({ config });
    }
  }
});
