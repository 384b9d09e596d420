// Rows of a long list, fetched by pages as they come into view; what is shown stays until the new is there.
import { pagesOf } from './inView';

export interface Page<Row> {
  rows: Row[];
  matched: number;
}

const MOST_PAGES = 24;

export class Windows<Row> {
  /** How many rows there are; null until the first page is there. */
  matched: number | null = null;
  private readonly pages = new Map<number, readonly Row[]>();
  private readonly asked = new Map<number, AbortController>();
  private range: [number, number] = [0, 1];

  constructor(
    private readonly fetchPage: (offset: number, limit: number, signal: AbortSignal) => Promise<Page<Row>>,
    private readonly changed: () => void,
    private readonly failed: (cause: unknown) => void,
    readonly size = 200,
  ) {}

  at(index: number): Row | null {
    return this.pages.get(Math.floor(index / this.size))?.[index % this.size] ?? null;
  }

  /** Rows [first, last) are in view: what is missing of them is fetched. */
  want(first: number, last: number): void {
    this.range = [first, Math.max(last, first + 1)];
    for (const page of pagesOf(...this.range, this.size))
      if (!this.pages.has(page) && !this.asked.has(page) && (this.matched === null || page * this.size < this.matched))
        this.fetch(page);
  }

  /** Fetches what is in view again; other pages are forgotten. */
  refresh(): void {
    const seen = pagesOf(...this.range, this.size);
    for (const page of [...this.pages.keys()]) if (!seen.includes(page)) this.pages.delete(page);
    for (const page of seen) this.fetch(page);
  }

  /** Puts newer rows where the same are held. Whether any was. */
  patch(rows: readonly Row[], isSame: (held: Row, newer: Row) => boolean): boolean {
    let isAny = false;
    for (const [page, held] of this.pages) {
      const next = held.map((row) => rows.find((newer) => isSame(row, newer)) ?? row);
      if (!next.some((row, at) => row !== held[at])) continue;
      this.pages.set(page, next);
      isAny = true;
    }
    if (isAny) this.changed();
    return isAny;
  }

  /** All rows that are held, in their order. */
  held(): Row[] {
    return [...this.pages.entries()].sort(([a], [b]) => a - b).flatMap(([, rows]) => rows);
  }

  end(): void {
    this.asked.forEach((one) => one.abort());
    this.asked.clear();
  }

  private fetch(page: number): void {
    this.asked.get(page)?.abort();
    const leaving = new AbortController();
    this.asked.set(page, leaving);
    this.fetchPage(page * this.size, this.size, leaving.signal).then(
      ({ rows, matched }) => {
        if (leaving.signal.aborted) return;
        this.asked.delete(page);
        this.matched = matched;
        this.pages.delete(page);
        this.pages.set(page, rows);
        for (const old of this.pages.keys()) {
          if (this.pages.size <= MOST_PAGES) break;
          if (!pagesOf(...this.range, this.size).includes(old)) this.pages.delete(old);
        }
        this.changed();
        this.want(...this.range);
      },
      (cause: unknown) => {
        if (leaving.signal.aborted) return;
        this.asked.delete(page);
        this.failed(cause);
      },
    );
  }
}
