// Runs that have the same settings, as table and charts tell them: which runs, what they are called, and their looks.
import { useEffect, useMemo } from 'react';
import type { Columns, Group, Groups, RunRow, Value } from '../../api/types';
import { type Read, useGet } from '../../api/use';
import { askedOf, useView } from '../../app/view';
import { live } from '../../live/live';
import { value } from '../../parts/format';
import { parseColumn } from './columns';

const PAUSE_MS = 3000;
/** Sequences of looks begin again: as many colours, then as many marks and dashes. */
const COLOURS = 8;
const MARKS = 4;

export interface GroupLook {
  colour: number;
  mark: number;
}

export interface Grouping {
  by: readonly string[];
  /** By their keys. */
  looks: ReadonlyMap<string, GroupLook>;
}

export interface GroupedTable extends Read<Groups> {
  /** Metrics of the columns that are shown. */
  metrics: readonly string[];
  /** They say each run's best value, not its last. */
  isBest: boolean;
  /** null until the first answer, and where nothing is grouped. */
  grouping: Grouping | null;
}

type Settings = Readonly<Record<string, unknown>>;

/** The same for runs of one group; null: it has none of these settings, and is in no group. */
export function groupKey(by: readonly string[], settings: Settings): string | null {
  const has = by.map((key) => (key in settings ? [settings[key]] : []));
  return has.some((one) => one.length > 0) ? JSON.stringify(has) : null;
}

/** 'lr 0.1 · hidden 32' */
export function groupName(by: readonly string[], settings: Settings): string {
  return by.map((key) => `${key} ${key in settings ? value(settings[key] as Value) : '–'}`).join(' · ');
}

/** '0.1 · 32', beside something that says of which settings. */
export function groupValues(by: readonly string[], settings: Settings): string {
  return by.map((key) => (key in settings ? value(settings[key] as Value) : '–')).join(' · ');
}

/** Runs by their group. */
export function inGroups(by: readonly string[], rows: readonly RunRow[]): Map<string, RunRow[]> {
  const found = new Map<string, RunRow[]>();
  for (const row of rows) {
    const key = groupKey(by, row.config);
    if (key !== null) found.set(key, [...(found.get(key) ?? []), row]);
  }
  return found;
}

/** What the seeds of a study are called. */
const isSeed = (key: string) => /(^|[._-])seed$/i.test(key);

/** The settings that differ but for the seed: runs with the same are repetitions. null: no seed differs. */
export function overSeeds(known: Columns | null): string[] | null {
  const all = known?.config ?? [];
  if (!all.some(({ key, distinct }) => isSeed(key) && distinct > 1)) return null;
  const others = all.filter(({ key }) => !isSeed(key));
  const differing = others.filter(({ distinct }) => distinct > 1);
  const by = differing.length ? differing : others.slice(0, 1);
  return by.length ? by.map(({ key }) => key) : null;
}

/** What was given once stays while the page lives: another group that comes changes no colour. */
const given = new Map<string, Map<string, GroupLook>>();

/** In the order of their values; `before` keep theirs. */
export function looksOf(
  by: readonly string[],
  groups: readonly Pick<Group, 'values'>[],
  before: ReadonlyMap<string, GroupLook> = new Map(),
): Map<string, GroupLook> {
  const looks = new Map(before);
  const named = groups.map(({ values }) => ({ key: groupKey(by, values) ?? '', name: groupName(by, values) }));
  for (const { key } of named.sort((a, b) => a.name.localeCompare(b.name, 'en', { numeric: true })))
    if (!looks.has(key))
      looks.set(key, { colour: looks.size % COLOURS, mark: Math.floor(looks.size / COLOURS) % MARKS });
  return looks;
}

/** The groups of all runs that match, kept fresh while something is grouped. */
export function useGroups(ids: readonly string[]): GroupedTable {
  const [view] = useView('query', 'archived', 'group');
  const columns = useMemo(() => ids.map(parseColumn).filter(({ kind }) => kind === 'metric'), [ids]);
  const metrics = useMemo(() => [...new Set(columns.map(({ key }) => key))], [columns]);
  const isBest = columns.some(({ of }) => of === 'best');
  const isGrouped = view.group.length > 0;
  const read = useGet<Groups>(isGrouped ? '/api/runs/groups' : null, {
    by: view.group,
    query: askedOf(view),
    metric: metrics,
    of: isBest ? 'best' : 'last',
  });
  const { again, answer } = read;
  useEffect(() => {
    if (!isGrouped) return undefined;
    let soon: ReturnType<typeof setTimeout> | null = null;
    const stop = live.on('rows', () => {
      soon ??= setTimeout(() => {
        soon = null;
        again();
      }, PAUSE_MS);
    });
    return () => {
      stop();
      if (soon) clearTimeout(soon);
    };
  }, [again, isGrouped]);
  const grouping = useMemo(() => {
    const by = view.group;
    if (!answer || answer.by.join('\n') !== by.join('\n')) return null;
    const name = by.join('\n');
    const looks = looksOf(by, answer.groups, given.get(name));
    given.set(name, looks);
    return { by, looks };
  }, [answer, view.group]);
  return { ...read, metrics, isBest, grouping };
}
