// Checkpoints by windows: only those that come into view are fetched; the order and the filter are the server's.
import { useCallback, useEffect, useMemo, useState } from 'react';
import { Refusal, get } from '../../api/ask';
import type { RunRow, RunsPage, Schema } from '../../api/types';

export type CheckpointRow = Schema<'CheckpointRow'>;

const WINDOW = 100;

export interface Checkpoints {
  /** null until known. */
  matched: number | null;
  nbytes: number;
  refusal: Refusal | null;
  row(index: number): CheckpointRow | undefined;
  run(name: string): RunRow | undefined;
  /** Names of the metrics of the first of them, the most frequent first; they stay the same as one scrolls. */
  metrics: string[];
  need(first: number, last: number): void;
}

interface Held {
  of: string;
  matched: number | null;
  nbytes: number;
  refusal: Refusal | null;
  rows: ReadonlyMap<number, CheckpointRow>;
  runs: ReadonlyMap<string, RunRow>;
}

export function useCheckpoints(query: string, sort: string, isReversed: boolean, turn: number): Checkpoints {
  const of = JSON.stringify([query, sort, isReversed, turn]);
  const [held, setHeld] = useState<Held>({
    of,
    matched: null,
    nbytes: 0,
    refusal: null,
    rows: new Map(),
    runs: new Map(),
  });
  const reader = useMemo(
    () => new Reader(of, { query, sort, reversed: isReversed }, setHeld),
    [of, query, sort, isReversed],
  );
  useEffect(() => {
    reader.start();
    return () => reader.stop();
  }, [reader]);
  const need = useCallback((first: number, last: number) => reader.need(first, last), [reader]);
  // Only of the first window: columns that come and go as one scrolls cannot be read.
  const metrics = useMemo(
    () => frequent([...held.rows].flatMap(([at, row]) => (at < WINDOW ? [row] : []))),
    [held.rows],
  );
  return { ...held, metrics, need, row: (index) => held.rows.get(index), run: (name) => held.runs.get(name) };
}

class Reader {
  private readonly asked = new Set<number>();
  private leaving = new AbortController();

  constructor(
    private readonly of: string,
    private readonly order: { query: string; sort: string; reversed: boolean },
    private readonly set: (next: (before: Held) => Held) => void,
  ) {}

  start(): void {
    if (this.leaving.signal.aborted) {
      this.asked.clear();
      this.leaving = new AbortController();
    }
    this.need(0, WINDOW);
  }

  stop(): void {
    this.leaving.abort();
  }

  need(first: number, last: number): void {
    for (let page = Math.floor(first / WINDOW); page * WINDOW < last; page++) {
      if (this.asked.has(page)) continue;
      this.asked.add(page);
      void this.read(page * WINDOW);
    }
  }

  private async read(offset: number): Promise<void> {
    const { query, sort, reversed } = this.order;
    try {
      const asked = { query, sort, offset, limit: WINDOW, ...(reversed ? { descending: !isDescending(sort) } : {}) };
      const page = await get<Schema<'CheckpointsPage'>>('/api/checkpoints', asked, this.leaving.signal);
      this.take(offset, page, []);
      const names = [...new Set(page.rows.map((row) => row.run))];
      if (names.length === 0) return;
      const runs = await get<RunsPage>('/api/runs/rows', { name: names }, this.leaving.signal);
      this.take(offset, page, runs.rows);
    } catch (cause) {
      if (this.leaving.signal.aborted) return;
      if (!(cause instanceof Refusal)) throw cause;
      this.set((before) => ({ ...before, of: this.of, refusal: cause }));
    }
  }

  private take(offset: number, page: Schema<'CheckpointsPage'>, runs: RunRow[]): void {
    this.set((before) => {
      const rows = new Map(before.of === this.of ? before.rows : []);
      page.rows.forEach((row, at) => rows.set(offset + at, row));
      return {
        of: this.of,
        matched: page.matched,
        nbytes: page.nbytes,
        refusal: null,
        rows,
        runs: new Map([...before.runs, ...runs.map((row) => [row.name, row] as const)]),
      };
    });
  }
}

/** Which way these are shown first: the newest and the largest above. A metric has its own, which the server knows. */
export function isDescending(sort: string): boolean {
  return ['saved_at', 'size', 'step'].includes(sort);
}

function frequent(rows: Iterable<CheckpointRow>): string[] {
  const counts = new Map<string, number>();
  for (const row of rows)
    for (const metric of Object.keys(row.metrics)) counts.set(metric, (counts.get(metric) ?? 0) + 1);
  return [...counts].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1)).map(([metric]) => metric);
}
