/** Axes over values of runs: where a value stands on one, linear, logarithmic or by category, with ticks of their own
 * for runs that have none or NaN. Shares go from 0 (low end) to 1 (high end). */

import { spellNumber, type Value } from '../../sheet/values';

export type Missing = 'none' | 'nan';

export interface Axis {
  /** As a query asks for it. */
  name: string;
  title: string;
  kind: 'linear' | 'log' | 'category';
  low: number;
  high: number;
  /** Of a category axis, from the bottom. */
  categories: Value[];
  hasNone: boolean;
  hasNan: boolean;
  /** Of a numeric axis with few different values: these are its ticks. */
  few: number[];
}

export interface Tick {
  share: number;
  text: string;
}

const MOST_CATEGORIES = 24;
const FEW = 6;

/** What a value is on an axis: its number, its category, or that it is missing. NaN comes spelled. */
export function isNan(value: Value | undefined): boolean {
  return (
    value === 'nan' ||
    value === 'NaN' ||
    value === 'inf' ||
    value === '-inf' ||
    (typeof value === 'number' && !Number.isFinite(value))
  );
}

/** The axis that shows these values: by number where all are numbers, else by category, the most frequent first. */
export function axisOf(name: string, title: string, values: readonly (Value | undefined)[]): Axis {
  const numbers: number[] = [];
  const others = new Map<string, { value: Value; count: number }>();
  let hasNone = false;
  let hasNan = false;
  for (const value of values) {
    if (value === null || value === undefined) hasNone = true;
    else if (isNan(value)) hasNan = true;
    else if (typeof value === 'number') numbers.push(value);
    else {
      const key = JSON.stringify(value);
      const known = others.get(key);
      if (known) known.count++;
      else others.set(key, { value, count: 1 });
    }
  }
  if (others.size > 0) {
    for (const value of numbers) {
      const known = others.get(String(value));
      if (known) known.count++;
      else others.set(String(value), { value, count: 1 });
    }
    const most = [...others.values()].sort((a, b) => b.count - a.count).slice(0, MOST_CATEGORIES);
    const categories = most.map((one) => one.value).sort(byText);
    return { name, title, kind: 'category', low: 0, high: 1, categories, hasNone, hasNan, few: [] };
  }
  let [low, high] = [Infinity, -Infinity];
  for (const value of numbers) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  const different = new Set(numbers);
  const few = different.size <= FEW ? [...different] : [];
  if (numbers.length === 0) [low, high] = [0, 1];
  const kind = low > 0 && high / low >= 50 ? 'log' : 'linear';
  if (low === high) [low, high] = low === 0 ? [-1, 1] : [low - Math.abs(low) / 2, high + Math.abs(high) / 2];
  return { name, title, kind, low, high, categories: [], hasNone, hasNan, few };
}

function byText(one: Value, other: Value): number {
  if (typeof one === 'number' && typeof other === 'number') return one - other;
  return String(one).localeCompare(String(other), 'en', { numeric: true });
}

/** Where a value stands; a missing one by its tick; null where the axis has no place for it (a rare category). */
export function place(axis: Axis, value: Value | undefined): number | Missing | null {
  if (value === null || value === undefined) return 'none';
  if (isNan(value)) return 'nan';
  if (axis.kind === 'category') {
    const key = JSON.stringify(value);
    const at = axis.categories.findIndex((one) => JSON.stringify(one) === key);
    return at < 0 ? null : categoryShare(axis, at);
  }
  return typeof value === 'number' ? shareOf(axis, value) : null;
}

function categoryShare(axis: Axis, at: number): number {
  return (at + 0.5) / axis.categories.length;
}

export function shareOf(axis: Axis, value: number): number {
  if (axis.kind === 'log') return Math.log(value / axis.low) / Math.log(axis.high / axis.low);
  return (value - axis.low) / (axis.high - axis.low);
}

/** The number at a share of a numeric axis. */
export function numberAt(axis: Axis, share: number): number {
  if (axis.kind === 'log') return axis.low * (axis.high / axis.low) ** share;
  return axis.low + share * (axis.high - axis.low);
}

/** Ticks of an axis, at most about `most`; of a log axis the powers of ten, with 2 and 5 where there is room. */
export function ticksOf(axis: Axis, most = 6): Tick[] {
  if (axis.kind === 'category') {
    return axis.categories.map((value, at) => ({ share: categoryShare(axis, at), text: wordOf(value) }));
  }
  const values = axis.few.length
    ? axis.few
    : axis.kind === 'log'
      ? logTicks(axis.low, axis.high, most)
      : linearTicks(axis.low, axis.high, most);
  return values.map((value) => ({ share: shareOf(axis, value), text: tickText(value) }));
}

/** Of ticks over `room` pixels those whose words have `least` pixels each; the rest are left out. */
export function apart(ticks: readonly Tick[], room: number, least: number): Tick[] {
  const kept: Tick[] = [];
  for (const tick of [...ticks].sort((a, b) => a.share - b.share))
    if (kept.length === 0 || (tick.share - kept[kept.length - 1]!.share) * room >= least) kept.push(tick);
  return kept;
}

function linearTicks(low: number, high: number, most: number): number[] {
  const rough = (high - low) / Math.max(1, most - 1);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((part) => part * power).find((part) => part >= rough * 0.999) ?? rough;
  const ticks: number[] = [];
  for (let at = Math.ceil(low / step - 1e-9); at * step <= high + step * 1e-9 && ticks.length < 50; at++) {
    ticks.push(Number((at * step).toPrecision(12)));
  }
  return ticks;
}

function logTicks(low: number, high: number, most: number): number[] {
  const [from, to] = [Math.floor(Math.log10(low)), Math.ceil(Math.log10(high))];
  for (const parts of [[1, 2, 5], [1, 3], [1]]) {
    const ticks: number[] = [];
    for (let power = from; power <= to; power++) {
      for (const part of parts) {
        const value = Number((part * 10 ** power).toPrecision(6));
        if (value >= low * 0.999 && value <= high * 1.001) ticks.push(value);
      }
    }
    if (ticks.length <= most || parts.length === 1) {
      const every = Math.ceil(ticks.length / most);
      return ticks.length < 2
        ? [low, high].map((end) => Number(end.toPrecision(2)))
        : ticks.filter((_, at) => at % every === 0);
    }
  }
  return [low, high];
}

/** A number of a tick or a tooltip, short. */
export function tickText(value: number): string {
  const size = Math.abs(value);
  if (size >= 1e4 && size < 1e15) {
    for (const [unit, name] of [
      [1e12, 'T'],
      [1e9, 'G'],
      [1e6, 'M'],
      [1e3, 'k'],
    ] as const) {
      if (size >= unit) return `${spellNumber(Number((value / unit).toPrecision(4)))}${name}`;
    }
  }
  return spellNumber(Number(value.toPrecision(4)));
}

export function wordOf(value: Value | undefined): string {
  if (value === null || value === undefined) return 'none';
  if (typeof value === 'number') return tickText(value);
  return typeof value === 'string' ? value : JSON.stringify(value);
}
