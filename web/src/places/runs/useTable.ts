// The rows of the table: windows of what filter and order say, kept fresh while one looks.
import { useCallback, useEffect, useRef, useState } from 'react';
import { Refusal, get } from '../../api/ask';
import { useStore } from '../../api/store';
import type { RunRow, RunsPage } from '../../api/types';
import { actionsDone } from '../../app/actions';
import { NEWEST, readNewest } from '../../app/rows';
import { live } from '../../live/live';
import { Windows } from '../../table/windows';

export interface Asked {
  query: string;
  sort: string;
  descending: boolean | null;
  archived: boolean;
}

export interface Table {
  /** Of the rows that are shown: the last query until the new one is answered; null before the first answer. */
  query: string | null;
  /** null until the first rows are there. */
  matched: number | null;
  total: number | null;
  isComplete: boolean;
  refusal: Refusal | null;
  version: number;
  at(index: number): RunRow | null;
  held(): RunRow[];
  want(first: number, last: number): void;
}

/** New rows at most this often: what changes meanwhile changes in place. */
const PAUSE_MS = 1000;

interface Shown {
  windows: Windows<RunRow> | null;
  query: string | null;
  version: number;
  total: number | null;
  isComplete: boolean;
  refusal: Refusal | null;
}

export function useTable({ query, sort, descending, archived }: Asked): Table {
  const [shown, setShown] = useState<Shown>({
    windows: null,
    query: null,
    version: 0,
    total: null,
    isComplete: true,
    refusal: null,
  });
  const next = useRef<Windows<RunRow> | null>(null);
  const range = useRef<[number, number]>([0, 60]);
  const done = useStore(actionsDone);
  useEffect(() => {
    let total: number | null = null;
    let isComplete = true;
    let soon: ReturnType<typeof setTimeout> | null = null;
    const refreshSoon = () => {
      soon ??= setTimeout(() => {
        soon = null;
        windows.refresh();
      }, PAUSE_MS);
    };
    const windows: Windows<RunRow> = new Windows<RunRow>(
      async (offset, limit, signal) => {
        const order = { sort, ...(descending === null ? {} : { descending }) };
        const asked = { query, ...order, offset, limit, archived: archived ? 'only' : null };
        const isNewest = sort === '' && descending === null && !archived && offset === 0;
        const page = await (isNewest ? readNewest(query) : get<RunsPage>('/api/runs', asked, signal));
        total = page.total;
        isComplete = page.is_complete;
        if (live.isBehind(page.revision)) refreshSoon();
        return page;
      },
      () => setShown((before) => ({ windows, query, version: before.version + 1, total, isComplete, refusal: null })),
      (cause) => {
        if (!(cause instanceof Refusal)) throw cause;
        setShown((before) => ({ ...before, refusal: cause }));
      },
      NEWEST,
    );
    next.current = windows;
    range.current = [0, 60];
    windows.want(0, 60);
    const stops = [
      live.on('rows', (message) => {
        total = message.total;
        const isHeld = windows.patch(message.rows, (held, newer) => held.name === newer.name);
        const names = new Set(windows.held().map((row) => row.name));
        const isOther = message.has_more || message.gone.length > 0 || message.rows.some((row) => !names.has(row.name));
        // What it is sorted or filtered by may be what has changed.
        if (isOther || (isHeld && (query !== '' || (sort !== '' && sort !== 'created')))) refreshSoon();
        if (message.is_complete !== isComplete) refreshSoon();
      }),
      live.onAgain(() => windows.refresh()),
    ];
    return () => {
      if (soon) clearTimeout(soon);
      stops.forEach((stop) => stop());
      windows.end();
    };
  }, [query, sort, descending, archived]);
  useEffect(() => {
    if (done > 0) next.current?.refresh();
  }, [done]);
  const want = useCallback((first: number, last: number) => {
    range.current = [first, last];
    next.current?.want(first, last);
  }, []);
  const { windows } = shown;
  return {
    query: shown.query,
    matched: windows?.matched ?? null,
    total: shown.total,
    isComplete: shown.isComplete,
    refusal: shown.refusal,
    version: shown.version,
    at: useCallback((index) => windows?.at(index) ?? null, [windows]),
    held: useCallback(() => windows?.held() ?? [], [windows]),
    want,
  };
}
