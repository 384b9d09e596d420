/** Settings out of pasted text: JSON, YAML, or `key=value` lines. Keys of nested ones are dotted. */

import { LineCounter, type Node, type Scalar, isAlias, isCollection, isMap, isPair, isScalar, isSeq } from 'yaml';
import { parseDocument, visit } from 'yaml';
import type { Value } from './values';

export type Pasted = { config: Record<string, Value> } | { problem: string; line: number | null };

const EQUATION = /^[ \t]*([^\s:="'[\]{}#]+)[ \t]*=[ \t]*/;

// What YAML's own words leave in the dark.
const WORDS: Record<string, string> = {
  BLOCK_AS_IMPLICIT_KEY: 'two values stand under one key; a text with a colon belongs into quotes',
  MULTILINE_IMPLICIT_KEY: 'this is no key: value, and key=value lines stand by themselves',
  MULTIPLE_DOCS: 'a second document begins here: paste one',
  RESOURCE_EXHAUSTION: 'it is nested too deeply',
};

/** The settings, or what is wrong and in which line. What cannot be read for sure is refused, never guessed. */
export function readPasted(text: string): Pasted {
  if (text.trim() === '') return { problem: 'There is nothing here yet: paste JSON or YAML.', line: null };
  const lineCounter = new LineCounter();
  // JSON is YAML, too. The schema is given, for a %YAML line in the text would make dates of texts.
  const options = { schema: 'core', stringKeys: true, prettyErrors: false, lineCounter } as const;
  const document = parseDocument(withColons(text), options);
  const [error] = document.errors;
  let wrong = error ? { problem: WORDS[error.code] ?? error.message, at: error.pos[0] } : null;
  visit(document, (role, node, path) => {
    if (isPlain(role, node) && /^none$/i.test(node.source ?? '')) node.value = null;
    const problem = wrong ? null : refusal(role, node, path.at(-1));
    if (problem) wrong = { problem, at: (isPair(node) ? (node.key as Node) : (node as Node)).range?.[0] ?? 0 };
    return wrong ? visit.BREAK : undefined;
  });
  if (wrong) return { problem: wrong.problem, line: lineCounter.linePos(wrong.at).line };
  if (document.contents && !isMap(document.contents)) return { problem: 'settings have keys: lr: 0.1', line: 1 };
  const found = flat((document.toJS() ?? {}) as object);
  const twice = found.find(([key], at) => found.findIndex((one) => one[0] === key) < at);
  if (twice) return { problem: `${twice[0]} is there twice`, line: null };
  return found.length ? { config: Object.fromEntries(found) } : { problem: 'There are no settings in it.', line: null };
}

/** `key=value` lines as YAML, where there are no others. */
function withColons(text: string): string {
  const lines = text.split('\n');
  const isAll = lines.every((line) => EQUATION.test(line) || /^\s*(#|$)/.test(line));
  return isAll ? lines.map((line) => line.replace(EQUATION, '$1: ')).join('\n') : text;
}

/** Why something that is YAML is no setting here. */
function refusal(role: unknown, node: unknown, parent: unknown): string | null {
  if (isPair(node)) {
    const isLacking = isCollection(parent) && parent.flow && isNothing(node.value);
    return isLacking ? `${String(node.key)} is followed by no value: write {key: value}` : null;
  }
  if (isAlias(node) || ((isCollection(node) || isScalar(node)) && (node.anchor || node.tag)))
    return '&, * and ! of YAML are not read here: paste JSON instead';
  if (isSeq(node) && node.items.some(isNothing)) return 'a value is missing in this list';
  if (isSeq(node) && node.items.some((item) => isCollection(item) && !item.flow))
    return 'what is nested in a list is written in brackets here: [1, 2] or {width: 2}';
  return isPlain(role, node) ? wrongNumber(node) : null;
}

function isPlain(role: unknown, node: unknown): node is Scalar {
  return isScalar(node) && node.type === 'PLAIN' && role !== 'key';
}

function isNothing(node: unknown): boolean {
  return node === null || (isScalar(node) && node.value === null && node.source === '');
}

function wrongNumber({ value, source = '' }: Scalar): string | null {
  if (/^(NaN|-?Infinity)$/.test(source) || (typeof value === 'number' && !Number.isFinite(value)))
    return `a config cannot hold ${source}`;
  if (/^[+-]?0\d+$/.test(source)) return `${source} is one number to some and another to others: a text has quotes`;
  const isRounded = typeof value === 'number' && /^-?\d+$/.test(source) && String(value) !== source;
  return isRounded ? `${source} is too large for this page: start it from the command line` : null;
}

/** Settings under dotted keys; an empty group stays a value. */
function flat(value: object, prefix = ''): [string, Value][] {
  return Object.entries(value).flatMap(([key, inner]: [string, Value]) => {
    const isGroup =
      typeof inner === 'object' && inner !== null && !Array.isArray(inner) && Object.keys(inner).length > 0;
    return isGroup ? flat(inner, `${prefix}${key}.`) : [[prefix + key, inner] as [string, Value]];
  });
}
