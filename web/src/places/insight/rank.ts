/** How much a metric goes with a setting over runs: a rank correlation, one setting at a time, with its error. */

import type { Value } from '../../sheet/values';
import { isNan } from './axes';

export interface Effect {
  /** 0 to 1: size of Spearman's rho, or for words the square root of the share of rank variance between them. */
  size: number;
  /** Which way: +1 a larger value goes with a larger metric, -1 with a smaller one, 0 for words. */
  sign: number;
  /** About one standard error. */
  error: number;
  runs: number;
}

/** Fewer runs than this say nothing about a setting. */
export const FEWEST_RUNS = 10;

/** The effect, or how many runs there are where they are too few (or the setting never differs). */
export function effectOf(
  setting: readonly (Value | undefined)[],
  metric: readonly (Value | undefined)[],
): Effect | { tooFew: number } {
  const pairs: [Value, number][] = [];
  setting.forEach((value, at) => {
    const y = metric[at];
    if (value === null || value === undefined || isNan(value) || typeof y !== 'number' || !Number.isFinite(y)) return;
    pairs.push([value, y]);
  });
  const distinct = new Set(pairs.map(([value]) => JSON.stringify(value)));
  if (pairs.length < FEWEST_RUNS || distinct.size < 2) return { tooFew: pairs.length };
  const ranks = ranksOf(pairs.map(([, y]) => y));
  const error = 1 / Math.sqrt(pairs.length - 1);
  if (pairs.every(([value]) => typeof value === 'number')) {
    const rho = correlation(ranksOf(pairs.map(([value]) => value as number)), ranks);
    return { size: Math.abs(rho), sign: Math.sign(rho), error, runs: pairs.length };
  }
  if (distinct.size > pairs.length / 3) return { tooFew: pairs.length };
  return {
    size: betweenGroups(
      pairs.map(([value]) => JSON.stringify(value)),
      ranks,
    ),
    sign: 0,
    error,
    runs: pairs.length,
  };
}

/** The setting that goes most with the metric; where that cannot be said yet, the one with most different values. */
export function mostTelling(
  settings: readonly { name: string }[],
  values: ReadonlyMap<string, readonly (Value | undefined)[]>,
  metric: readonly (Value | undefined)[] | null | undefined,
): string | null {
  const scored = settings.map(({ name }) => {
    const column = values.get(name) ?? [];
    const effect = effectOf(column, metric ?? []);
    const distinct = new Set(column.map((value) => JSON.stringify(value))).size;
    return { name, size: 'size' in effect ? effect.size : 0, distinct };
  });
  scored.sort((a, b) => b.size - a.size || b.distinct - a.distinct);
  return scored[0]?.name ?? null;
}

/** Ranks from 1; equal values share the mean of theirs. */
export function ranksOf(values: readonly number[]): number[] {
  const order = values.map((_, at) => at).sort((a, b) => values[a]! - values[b]!);
  const ranks = new Array<number>(values.length);
  for (let from = 0; from < order.length;) {
    let to = from;
    while (to + 1 < order.length && values[order[to + 1]!] === values[order[from]!]) to++;
    for (let at = from; at <= to; at++) ranks[order[at]!] = (from + to) / 2 + 1;
    from = to + 1;
  }
  return ranks;
}

function correlation(one: number[], other: number[]): number {
  const [meanOne, meanOther] = [mean(one), mean(other)];
  let [product, squaresOne, squaresOther] = [0, 0, 0];
  one.forEach((value, at) => {
    const [a, b] = [value - meanOne, other[at]! - meanOther];
    product += a * b;
    squaresOne += a * a;
    squaresOther += b * b;
  });
  return squaresOne && squaresOther ? product / Math.sqrt(squaresOne * squaresOther) : 0;
}

/** Square root of epsilon squared: the share of rank variance between groups, less what chance alone would make. */
function betweenGroups(groups: string[], ranks: number[]): number {
  const all = mean(ranks);
  const total = ranks.reduce((sum, rank) => sum + (rank - all) ** 2, 0);
  const of = new Map<string, number[]>();
  groups.forEach((group, at) => of.set(group, [...(of.get(group) ?? []), ranks[at]!]));
  let between = 0;
  for (const members of of.values()) between += members.length * (mean(members) - all) ** 2;
  const [runs, kinds] = [ranks.length, of.size];
  if (total === 0 || runs <= kinds) return 0;
  return Math.sqrt(Math.max(0, 1 - ((1 - between / total) * (runs - 1)) / (runs - kinds)));
}

function mean(values: number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
