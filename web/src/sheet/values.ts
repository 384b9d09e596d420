/** What people type as a setting's value, and the value that it stands for; as the library reads its command line. */

import type { Value } from '../api/types';

export type Kind = 'int' | 'float' | 'bool' | 'str' | 'list' | 'unknown';
export type { Value };

/** A value, or why the text is none. `warning`: it is one, but not what one would expect here. */
export type Read = { value: Value; warning?: string } | { problem: string };

const WORDS: Record<string, boolean> = { true: true, yes: true, on: true, false: false, no: false, off: false };
const NONE = new Set(['none', 'null']);
const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;

/** The kind of a value that has no declaration. */
export function kindOf(value: Value): Kind {
  if (typeof value === 'boolean') return 'bool';
  if (typeof value === 'number') return Number.isSafeInteger(value) ? 'int' : 'float';
  if (typeof value === 'string') return 'str';
  return Array.isArray(value) ? 'list' : 'unknown';
}

/** All of a number, as tables write it: 3e-4, 0.003, 128. */
export function spellNumber(value: number): string {
  const plain = String(value);
  if (Number.isInteger(value) || Math.abs(value) >= 1e-3) return plain;
  const short = value.toExponential().replace('e+', 'e');
  return short.length < plain.length ? short : plain;
}

/** A value as the field of its row shows it; `readOne` of it is the value again. */
export function spell(value: Value, kind: Kind): string {
  if (typeof value === 'number') return spellNumber(value);
  if (typeof value === 'string') return isSafeText(value, kind) ? value : JSON.stringify(value);
  if (value === null) return 'none';
  return typeof value === 'boolean' ? String(value) : JSON.stringify(value);
}

function isSafeText(text: string, kind: Kind): boolean {
  if (text !== text.trim() || text === '' || /^["'[{]|,|…|\.\.|\n/.test(text) || NONE.has(text.toLowerCase()))
    return false;
  return kind === 'str' || (!NUMBER.test(text) && !(text.toLowerCase() in WORDS));
}

/** One value of a kind. */
export function readOne(text: string, kind: Kind): Read {
  const word = text.trim();
  const lower = word.toLowerCase();
  if (word === '' && kind !== 'str') return { problem: 'a value is missing' };
  if (NONE.has(lower)) return { value: null };
  switch (kind) {
    case 'bool':
      if (lower in WORDS) return { value: WORDS[lower]! };
      if (word === '1' || word === '0') return { value: word === '1' };
      return { problem: 'must be true or false' };
    case 'int':
    case 'float':
      return readNumber(word, kind);
    case 'list':
      return readList(word);
    case 'str':
      return { value: unquoted(word) ?? text.trim() };
    case 'unknown':
      return { value: literal(word) };
  }
}

function readNumber(word: string, kind: 'int' | 'float'): Read {
  if (!NUMBER.test(word)) {
    const hint = /^[+-]?(\d+),(\d+)$/.test(word) ? `; write ${word.replace(',', '.')}` : '';
    return { problem: (kind === 'int' ? 'must be a whole number' : 'must be a number') + hint };
  }
  const value = Number(word);
  if (!Number.isFinite(value)) return { problem: 'is too large: a config cannot hold it' };
  if (Number.isInteger(value) && !Number.isSafeInteger(value) && kind === 'int') {
    return { problem: 'is too large for this page: start it from the command line' };
  }
  if (kind === 'int' && !Number.isInteger(value)) return { value, warning: 'was a whole number until now' };
  return { value };
}

function readList(word: string): Read {
  if (/^[[(]/.test(word)) {
    const value = parsed(word.replace(/^\(/, '[').replace(/\)$/, ']'));
    if (Array.isArray(value)) return { value };
    if (!/[\])]$/.test(word)) return { problem: 'a bracket is not closed' };
  }
  const inside = word.replace(/^[[(]|[\])]$/g, '').trim();
  if (inside === '') return { value: [] };
  return { value: splitTop(inside).map((part) => literal(part.trim())) };
}

/** What a text looks like: true, none, a number, JSON; else it is itself. */
export function literal(word: string): Value {
  const lower = word.toLowerCase();
  if (lower in WORDS && (lower === 'true' || lower === 'false')) return WORDS[lower]!;
  if (NONE.has(lower)) return null;
  if (NUMBER.test(word) && Number.isFinite(Number(word))) return Number(word);
  if (/^[[{"']/.test(word)) {
    const value = unquoted(word) ?? parsed(word);
    if (value !== undefined) return value;
  }
  return word;
}

function unquoted(word: string): string | undefined {
  if (word.length < 2) return undefined;
  if (word.startsWith("'") && word.endsWith("'")) return word.slice(1, -1);
  const value = word.startsWith('"') ? parsed(word) : undefined;
  return typeof value === 'string' ? value : undefined;
}

function parsed(word: string): Value | undefined {
  try {
    return JSON.parse(word) as Value;
  } catch {
    return undefined;
  }
}

/** Parts between the commas that stand in no brackets and no quotes. */
export function splitTop(text: string): string[] {
  const parts: string[] = [];
  let depth = 0;
  let quote = '';
  let part = '';
  for (let at = 0; at < text.length; at++) {
    const sign = text[at]!;
    if (quote) {
      if (sign === '\\') part += text[at++] ?? '';
      else if (sign === quote) quote = '';
    } else if (sign === '"' || (sign === "'" && part.trim() === '')) quote = sign;
    else if ('[{('.includes(sign)) depth++;
    else if (']})'.includes(sign)) depth--;
    if (sign === ',' && depth <= 0 && !quote) {
      parts.push(part);
      part = '';
    } else part += text[at] ?? '';
  }
  parts.push(part);
  return parts;
}

/** Whether two values are the same one, lists and dicts by what they hold. */
export function isSame(one: Value | undefined, other: Value | undefined): boolean {
  if (one === other) return true;
  if (one === undefined || other === undefined || typeof one !== 'object' || typeof other !== 'object') return false;
  return canonical(one) === canonical(other);
}

function canonical(value: Value): string {
  return JSON.stringify(value, (_, inner: unknown) =>
    inner !== null && typeof inner === 'object' && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  );
}
