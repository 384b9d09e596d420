// The runs that are looked at, shared by all places: those chosen, all of the filter, or its running and ten latest; all
// of it where they are grouped, since a mean over the latest is none of its group.
import { useEffect, useMemo } from 'react';
import { get } from '../api/ask';
import { session } from '../api/session';
import { makeStore, useStore } from '../api/store';
import type { RunRow, RunsPage, Schema } from '../api/types';
import { live } from '../live/live';
import { toast } from '../parts/Toast';
import { readNewest } from './rows';
import { askedOf, changeView, useView } from './view';

const LATEST = 10;
/** As many are drawn, and as many names an address holds. */
export const MOST_SHOWN = 200;
/** As many one action may be about. */
const MOST = 10_000;
const NOBODY: readonly string[] = [];

/** What the filter gives where no names are said: the newest of those that match, or the running and the latest. */
const byFilter = makeStore<Found>({ asked: '', names: NOBODY, matched: 0 });

interface Found {
  /** What was asked for, see `keyOf`. */
  asked: string;
  names: readonly string[];
  matched: number;
  /** The rows of all of the names, where they came with them. */
  page?: RunsPage;
}

/** The run that the pointer or the keyboard is on, wherever: its row and its curves stand out. */
export const hotRun = makeStore<string | null>(null);

export interface Selection {
  names: readonly string[];
  /** Those of them that are drawn. */
  shown: readonly string[];
  isDefault: boolean;
  isEvery: boolean;
  /** More than names where there are too many to be named. */
  matched: number;
  /** How many of those chosen by hand do not pass the filter: the table does not show them, charts do. */
  hidden: number;
  /** Their rows, where they came with their names. */
  page: RunsPage | undefined;
}

/** All that match, or the running and the latest of them. */
const keyOf = (query: string, isAll: boolean) => JSON.stringify([query, isAll]);

export function useSelection(): Selection {
  const [view] = useView('selected', 'query', 'archived', 'group');
  const found = useStore(byFilter);
  const { selected } = view;
  const query = askedOf(view);
  return useMemo(() => {
    const isSaid = selected !== null && selected !== 'every';
    const names = isSaid ? selected : found.names;
    const isKnown = found.asked === keyOf(query, true) && found.names.length === found.matched;
    return {
      names,
      shown: names.slice(0, MOST_SHOWN),
      isDefault: selected === null,
      isEvery: selected === 'every',
      matched: isSaid ? names.length : found.matched,
      hidden: isSaid && query && isKnown ? hiddenOf(names, found.names) : 0,
      page: isSaid ? undefined : found.page,
    };
  }, [selected, query, found]);
}

export function hiddenOf(names: readonly string[], passing: readonly string[]): number {
  const isIn = new Set(passing);
  return names.filter((name) => !isIn.has(name)).length;
}

/** Null: back to the running and the ten latest. */
export function select(names: readonly string[] | 'every' | null): void {
  if (names !== null && names.length > MOST_SHOWN)
    toast({ text: `${MOST_SHOWN} of these ${names.length} runs are selected: an address holds no more names.` });
  changeView({ selected: names === null || names === 'every' ? names : names.slice(0, MOST_SHOWN) });
}

/** With `names` in it, or without them. */
export function withRuns(selection: Selection, names: readonly string[], isIn: boolean): string[] {
  const others = selection.names.filter((name) => !names.includes(name));
  return isIn ? [...others, ...names] : others;
}

function sameNames(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((name, at) => name === b[at]);
}

async function namesOf(query: string, isAll: boolean): Promise<Omit<Found, 'asked'>> {
  if (isAll) {
    const all = { column: ['name'], query, limit: MOST };
    const { names, matched } = await get<Schema<'ValueTable'>>('/api/runs/values', all);
    return { names, matched };
  }
  const page = await readNewest(query);
  const names = runningAndLatest(page.rows);
  live.isBehind(page.revision);
  return { names, matched: names.length, page };
}

/** Of rows, the newest first: what has not begun has no curve, and takes no place. */
export function runningAndLatest(rows: readonly Pick<RunRow, 'name' | 'state'>[]): string[] {
  const begun = rows.filter((row) => row.state !== 'draft' && row.state !== 'queued');
  return begun.filter((row, at) => row.state === 'running' || at < LATEST).map((row) => row.name);
}

/** Keeps what the filter gives fresh; stands once in the page. */
export function useFilterSelection(): void {
  const [view] = useView('selected', 'query', 'archived', 'group');
  const { selected, group } = view;
  const query = askedOf(view);
  const isAll = selected !== null || group.length > 0;
  const isNeeded = selected === null || selected === 'every' || query !== '';
  const who = useStore(session);
  useEffect(() => {
    if (!isNeeded || !who) return undefined;
    let isGone = false;
    let soon: ReturnType<typeof setTimeout> | null = null;
    const asked = keyOf(query, isAll);
    const read = () => {
      soon = null;
      namesOf(query, isAll).then(
        (found) => {
          if (isGone) return;
          byFilter.set((before) =>
            asked === before.asked && found.matched === before.matched && sameNames(before.names, found.names)
              ? before
              : { asked, ...found },
          );
        },
        // A mistake in the query is shown below it, a lost connection at the top.
        () => undefined,
      );
    };
    const states = new Map<string, string>();
    const stopAgain = live.onAgain(read);
    const stop = live.on('rows', (message) => {
      const isOther =
        message.has_more || message.gone.length > 0 || message.rows.some((row) => states.get(row.name) !== row.state);
      message.rows.forEach((row) => states.set(row.name, row.state));
      if (isOther) soon ??= setTimeout(read, 300);
    });
    read();
    return () => {
      isGone = true;
      if (soon) clearTimeout(soon);
      stop();
      stopAgain();
    };
  }, [isNeeded, isAll, query, who]);
}
