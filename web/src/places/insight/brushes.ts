/** Brushes on axes, written into the query and read back out of it: the query alone says what is filtered. */

import { type Value, spellNumber } from '../../sheet/values';

/** What one axis lets through. */
export type Brush = { low: number; high: number } | { values: Value[] } | { missing: 'none' | 'nan' };

const NUMBER = String.raw`[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?`;

/** The query that means the base and all brushes. */
export function writeBrushes(base: string, brushes: ReadonlyMap<string, Brush>): string {
  const parts = [...brushes].map(([name, brush]) => clause(name, brush));
  const before = base.trim();
  if (parts.length === 0) return before;
  if (before === '') return parts.join(' and ');
  return [hasOr(before) ? `(${before})` : before, ...parts].join(' and ');
}

function clause(name: string, brush: Brush): string {
  if ('missing' in brush) return brush.missing === 'none' ? `${name} is None` : `${name} != ${name}`;
  if ('values' in brush) {
    const words = brush.values.map(literalOf);
    return words.length === 1 ? `${name} == ${words[0]}` : `${name} in [${words.join(', ')}]`;
  }
  return `${numberText(brush.low)} <= ${name} <= ${numberText(brush.high)}`;
}

function literalOf(value: Value): string {
  if (value === true) return 'True';
  if (value === false) return 'False';
  if (value === null) return 'None';
  return typeof value === 'number' ? numberText(value) : JSON.stringify(value);
}

/** To 4 digits: nobody brushes finer, and the query stays readable. */
function numberText(value: number): string {
  return spellNumber(Number(value.toPrecision(4)));
}

/** The brushes that a query holds on these axes, and what is left of it. */
export function readBrushes(query: string, names: readonly string[]): { base: string; brushes: Map<string, Brush> } {
  const brushes = new Map<string, Brush>();
  const rest: string[] = [];
  if (hasOr(query)) return { base: query.trim(), brushes };
  for (const part of splitWord(query, 'and')) {
    const found = readClause(part.trim(), names);
    if (found && !brushes.has(found[0])) brushes.set(found[0], found[1]);
    else if (part.trim()) rest.push(part.trim());
  }
  if (rest.length === 1 && brushes.size > 0) rest[0] = withoutBrackets(rest[0]!);
  return { base: rest.join(' and '), brushes };
}

function readClause(part: string, names: readonly string[]): [string, Brush] | null {
  for (const name of names) {
    if (!part.includes(name)) continue;
    if (part === `${name} is None`) return [name, { missing: 'none' }];
    if (part === `${name} != ${name}`) return [name, { missing: 'nan' }];
    const range = new RegExp(`^(${NUMBER}) <= ${escaped(name)} <= (${NUMBER})$`, 'i').exec(part);
    if (range) return [name, { low: Number(range[1]), high: Number(range[2]) }];
    const words = part.startsWith(`${name} == `)
      ? `[${part.slice(name.length + 4)}]`
      : part.startsWith(`${name} in [`) && part.endsWith(']')
        ? part.slice(name.length + 4)
        : null;
    const values = words === null ? null : readValues(words);
    if (values) return [name, { values }];
  }
  return null;
}

function readValues(words: string): Value[] | null {
  const json = words.replace(/"(?:[^"\\]|\\.)*"|\bTrue\b|\bFalse\b|\bNone\b/g, (word) =>
    word.startsWith('"') ? word : { True: 'true', False: 'false', None: 'null' }[word]!,
  );
  try {
    const values = JSON.parse(json) as unknown;
    return Array.isArray(values) && values.length > 0 ? (values as Value[]) : null;
  } catch {
    return null;
  }
}

function escaped(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
}

function hasOr(query: string): boolean {
  return splitWord(query, 'or').length > 1;
}

function withoutBrackets(text: string): string {
  if (!text.startsWith('(') || !text.endsWith(')')) return text;
  let depth = 0;
  for (let at = 0; at < text.length; at++) {
    if (text[at] === '(') depth++;
    if (text[at] === ')' && --depth === 0 && at < text.length - 1) return text;
  }
  return text.slice(1, -1).trim();
}

/** Parts between a word that stands alone, outside brackets and quotes. */
function splitWord(query: string, word: string): string[] {
  const parts: string[] = [];
  let depth = 0;
  let quote = '';
  let from = 0;
  for (let at = 0; at < query.length; at++) {
    const sign = query[at]!;
    if (quote) {
      if (sign === '\\') at++;
      else if (sign === quote) quote = '';
    } else if (sign === '"' || sign === "'") quote = sign;
    else if ('([{'.includes(sign)) depth++;
    else if (')]}'.includes(sign)) depth--;
    else if (
      depth === 0 &&
      query.startsWith(word, at) &&
      !/[\w.]/.test(query[at - 1] ?? ' ') &&
      !/[\w.]/.test(query[at + word.length] ?? ' ')
    ) {
      parts.push(query.slice(from, at));
      from = at + word.length;
      at = from - 1;
    }
  }
  parts.push(query.slice(from));
  return parts;
}

/** Whether a value passes a brush. */
export function passes(brush: Brush, value: Value | undefined, nan: boolean): boolean {
  if ('missing' in brush) return brush.missing === 'nan' ? nan : value === null || value === undefined;
  if ('values' in brush) return brush.values.some((one) => JSON.stringify(one) === JSON.stringify(value));
  return typeof value === 'number' && value >= brush.low && value <= brush.high;
}
