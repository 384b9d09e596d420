// The runs that are looked at, shared by all places: those chosen, or the running and the ten latest of the filter.
import { useEffect } from 'react';
import { get } from '../api/ask';
import { session } from '../api/session';
import { makeStore, useStore } from '../api/store';
import type { RunsPage } from '../api/types';
import { live } from '../live/live';
import { changeView, useView } from './view';

const LATEST = 10;
const MOST = 200;
const NOBODY: readonly string[] = [];

const byDefault = makeStore<readonly string[]>(NOBODY);

/** The run that the pointer or the keyboard is on, wherever: its row and its curves stand out. */
export const hotRun = makeStore<string | null>(null);

export interface Selection {
  names: readonly string[];
  isDefault: boolean;
}

export function useSelection(): Selection {
  const [view] = useView('selected');
  const usual = useStore(byDefault);
  return view.selected === null ? { names: usual, isDefault: true } : { names: view.selected, isDefault: false };
}

/** Null: back to the running and the ten latest. */
export function select(names: readonly string[] | null): void {
  changeView({ selected: names === null ? null : names.slice(0, MOST) });
}

/** With `names` in it, or without them. */
export function withRuns(selection: Selection, names: readonly string[], isIn: boolean): string[] {
  const others = selection.names.filter((name) => !names.includes(name));
  return isIn ? [...others, ...names] : others;
}

function sameNames(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((name, at) => name === b[at]);
}

/** Keeps what is selected when nothing is said fresh; stands once in the page. */
export function useDefaultSelection(): void {
  const [view] = useView('selected', 'query');
  const isNeeded = view.selected === null;
  const query = view.query;
  const who = useStore(session);
  useEffect(() => {
    if (!isNeeded || !who) return undefined;
    let isGone = false;
    let soon: ReturnType<typeof setTimeout> | null = null;
    const read = () => {
      soon = null;
      get<RunsPage>('/api/runs', { query, limit: 60 }).then(
        ({ rows }) => {
          if (isGone) return;
          const shown = rows.filter((row, at) => row.state === 'running' || at < LATEST);
          const names = shown.filter((row) => row.state !== 'draft' && row.state !== 'queued').map((row) => row.name);
          byDefault.set((before) => (sameNames(before, names) ? before : names));
        },
        // A mistake in the query is shown below it, a lost connection at the top.
        () => undefined,
      );
    };
    const states = new Map<string, string>();
    const stop = live.on('rows', (message) => {
      const isOther = message.gone.length > 0 || message.rows.some((row) => states.get(row.name) !== row.state);
      message.rows.forEach((row) => states.set(row.name, row.state));
      if (isOther) soon ??= setTimeout(read, 300);
    });
    read();
    return () => {
      isGone = true;
      if (soon) clearTimeout(soon);
      stop();
    };
  }, [isNeeded, query, who]);
}
