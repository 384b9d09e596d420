/** Several values in one field, one run for each: `0.1, 0.01`, `1…4`, `1e-5…1e-2 log`, `0…1 ×5`. */

import { kindOf, readOne, spell, splitTop, type Kind, type Value } from './values';

/** One value, several, or why it is neither. */
export type Entered = { values: Value[]; isRange: boolean; warning?: string } | { problem: string };

/** Values of a range where the person does not say how many. */
export const RANGE_VALUES = 12;
const MOST_VALUES = 10_000;
const RANGE = /^([^\s…]+?)\s*(?:…|\.\.\.?)\s*([^\s…]+)((?:\s+(?:log|linear|[×x*]?\s*\d+))*)$/i;

/** What a field says. */
export function readField(text: string, kind: Kind): Entered {
  const range = kind === 'list' || kind === 'bool' ? null : RANGE.exec(text.trim());
  const isNumeric = range !== null && isNumber(range[1]!) && isNumber(range[2]!);
  if (isNumeric) return readRange(range[1]!, range[2]!, range[3] ?? '', kind);
  if (range !== null && kind !== 'str' && kind !== 'unknown')
    return { problem: 'a range goes from a number to a number' };
  const parts = splitTop(text);
  const isList = kind === 'list' && !parts.every((part) => /^\s*[[(]/.test(part));
  if (parts.length < 2 || isList) return single(text, kind);
  const values: Value[] = [];
  let warning: string | undefined;
  for (const [at, part] of parts.entries()) {
    if (part.trim() === '')
      return {
        problem:
          at === parts.length - 1 ? 'a value is missing after the comma' : 'a value is missing between two commas',
      };
    const read = readOne(part, kind);
    if ('problem' in read) return { problem: `${part.trim()} ${read.problem}` };
    warning = read.warning ?? warning;
    if (!values.some((value) => JSON.stringify(value) === JSON.stringify(read.value))) values.push(read.value);
  }
  if (values.length > MOST_VALUES)
    return { problem: `makes ${values.length.toLocaleString('en')} runs; most are 10,000` };
  return warning === undefined ? { values, isRange: false } : { values, isRange: false, warning };
}

function single(text: string, kind: Kind): Entered {
  const read = readOne(text, kind);
  if ('problem' in read) return read;
  return read.warning === undefined
    ? { values: [read.value], isRange: false }
    : { values: [read.value], isRange: false, warning: read.warning };
}

function isNumber(word: string): boolean {
  return 'value' in readOne(word, 'float') && word.trim() !== '' && !/^(none|null)$/i.test(word);
}

function readRange(from: string, to: string, rest: string, kind: Kind): Entered {
  const low = Number(from);
  const high = Number(to);
  const isLog = /log/i.test(rest);
  const said = /(\d+)/.exec(rest.replace(/log|linear/gi, ''));
  const isWhole = kind === 'int' || (kind === 'unknown' && Number.isInteger(low) && Number.isInteger(high));
  if (low === high) return { problem: 'a range needs two different ends' };
  if (isLog && (low <= 0 || high <= 0)) return { problem: 'a log range begins and ends above 0' };
  if (isWhole && !(Number.isInteger(low) && Number.isInteger(high)))
    return { problem: 'the ends must be whole numbers' };
  const span = Math.abs(high - low) + 1;
  const count = said ? Number(said[1]) : isWhole && !isLog && span <= RANGE_VALUES ? span : RANGE_VALUES;
  if (count < 2) return { problem: 'a range has at least 2 values' };
  if (count > MOST_VALUES) return { problem: `makes ${count.toLocaleString('en')} runs; most are 10,000` };
  const values: number[] = [];
  for (let step = 0; step < count; step++) {
    const value = between(low, high, step / (count - 1), isLog, isWhole);
    if (!values.includes(value)) values.push(value);
  }
  return { values, isRange: true };
}

/** A value of the range, to 3 digits: its neighbours are farther off than that, and people read it. */
function between(low: number, high: number, share: number, isLog: boolean, isWhole: boolean): number {
  if (share === 0) return low;
  if (share === 1) return high;
  const exact = isLog ? Math.exp(Math.log(low) + share * Math.log(high / low)) : low + share * (high - low);
  if (isWhole) return Math.round(exact);
  const width = Math.abs(high - low);
  if (isLog || width === 0) return Number(exact.toPrecision(3));
  const digits = Math.max(0, 3 - Math.ceil(Math.log10(width)));
  return Number(exact.toFixed(Math.min(digits, 15)));
}

/** How many runs: one for each combination and seed. */
export function countRuns(several: Record<string, Value[]>, seeds: number): number {
  return Object.values(several).reduce((product, values) => product * values.length, Math.max(1, seeds));
}

/** 'Queue 12 runs', 'Run 12 now'. */
export function effect(verb: 'Queue' | 'Run' | 'Save', runs: number, forOne: string): string {
  return runs === 1
    ? forOne
    : `${verb} ${runs.toLocaleString('en')} ${{ Save: 'drafts', Queue: 'runs', Run: 'now' }[verb]}`;
}

/** '12 values: 1e-5, 1.87e-5, … 0.01', so that a range shows what it means. */
export function preview(values: Value[]): string {
  return `${values.length.toLocaleString('en')} values: ${list(values)}`;
}

/** '1e-5, 1.87e-5, … 0.01', and lists in their brackets. */
export function list(values: Value[]): string {
  const words = values.map((value) => spell(value, kindOf(value)));
  const shown = words.length <= 5 ? words : [...words.slice(0, 3), '…', words[words.length - 1]!];
  return shown.join(', ').replace('…, ', '… ');
}
