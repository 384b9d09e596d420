// From the series of runs to one line a group: the mean of its runs, with the area of one standard deviation about it.
import { useEffect, useMemo, useRef, useState } from 'react';
import type { RunRow } from '../../api/types';
import type { XAxis } from '../../app/view';
import type { Line } from '../../chart/line';
import { type Mean, meanOf } from '../../chart/mean';
import { type GroupLook, type Grouping, groupName, groupValues, inGroups } from './groups';
import { DASHES } from './lines';
import type { RunSeries } from './series';

/** What is drawn grows with each point; a mean over all of them is made anew this often. */
const PAUSE_MS = 1000;
const UNSEEN: GroupLook = { colour: 7, mark: 0 };

export interface RunGroup {
  /** No run has this name. */
  id: string;
  name: string;
  /** What tells it from the other groups. */
  values: string;
  look: GroupLook;
  names: string[];
  isRunning: boolean;
}

export interface GroupMean {
  group: RunGroup;
  mean: Mean;
  /** As many of its runs have a curve. */
  runs: number;
}

export const groupId = (key: string) => `group:${key}`;

/** The groups of these runs: the same list while it says the same, whatever else changes in their rows. */
export function useRunGroups(rows: readonly RunRow[], grouping: Grouping | null): RunGroup[] | null {
  const all = useMemo(() => {
    if (!grouping) return null;
    return [...inGroups(grouping.by, rows)].map(([key, members]): RunGroup => ({
      id: groupId(key),
      name: groupName(grouping.by, members[0]!.config),
      values: groupValues(grouping.by, members[0]!.config),
      look: grouping.looks.get(key) ?? UNSEEN,
      names: members.map(({ name }) => name),
      isRunning: members.some(({ state }) => state === 'running'),
    }));
  }, [rows, grouping]);
  const said = JSON.stringify(all);
  return useMemo(() => JSON.parse(said) as RunGroup[] | null, [said]);
}

export function meansOf(
  groups: readonly RunGroup[],
  series: ReadonlyMap<string, RunSeries>,
  other: ReadonlyMap<string, RunSeries> | null,
  x: XAxis,
): GroupMean[] {
  return groups
    .map((group) => {
      const curves = group.names
        .flatMap((name) => series.get(name)?.curves(x, other?.get(name) ?? null).main ?? [])
        .filter(({ length }) => length > 0);
      return { group, mean: meanOf(curves), runs: curves.length };
    })
    .filter(({ runs }) => runs > 0)
    .sort((a, b) => a.group.name.localeCompare(b.group.name, 'en', { numeric: true }));
}

/** The first is on top. */
export function meanLines(means: readonly GroupMean[], palette: readonly string[], faded: string): Line[] {
  return [...means].reverse().map(({ group, mean }) => ({
    id: group.id,
    curve: mean.curve,
    area: mean,
    colour: palette[group.look.colour] ?? faded,
    dash: DASHES[group.look.mark]!,
    isOpen: group.isRunning,
  }));
}

/** A number that grows often, at most once in a while: for what is dear to make anew. */
export function useCalm(version: number): number {
  const [calm, setCalm] = useState(version);
  const newest = useRef(version);
  const waiting = useRef<ReturnType<typeof setTimeout> | null>(null);
  useEffect(() => {
    newest.current = version;
    waiting.current ??= setTimeout(() => {
      waiting.current = null;
      setCalm(newest.current);
    }, PAUSE_MS);
  }, [version]);
  useEffect(
    () => () => {
      if (waiting.current) clearTimeout(waiting.current);
      waiting.current = null;
    },
    [],
  );
  return calm;
}
