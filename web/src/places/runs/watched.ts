// The series that charts in view show: fetched once for all of them, live for as long as somebody looks.
import { useCallback, useEffect, useSyncExternalStore } from 'react';
import { Refusal, getBytes } from '../../api/ask';
import type { Points } from '../../api/types';
import { type Wish, live } from '../../live/live';
import { RunSeries, decode, valuesOf } from './series';

const AT_ONCE = 50;
/** A run that saves at every step is asked for its marks this often. */
const SAVED_PAUSE_MS = 2000;

class OneMetric {
  readonly series = new Map<string, RunSeries>();
  readonly asked = new Set<string>();
  readonly missing = new Set<string>();
  readonly wanted = new Map<string, number>();
  readonly listeners = new Set<() => void>();
  version = 0;
  /** Another number when other series are held, not when they only grew. */
  generation = 0;
  refusal: Refusal | null = null;
}

class Watched {
  private readonly metrics = new Map<string, OneMetric>();
  /** Where each run's live stream goes on. */
  private readonly cursors = new Map<string, string>();
  private readonly checkpoints = new Map<string, number>();
  private readonly again = new Set<string>();
  private wish: Wish | null = null;
  private isPainting = false;
  private readonly grown = new Set<OneMetric>();

  of(metric: string): OneMetric {
    const found = this.metrics.get(metric) ?? new OneMetric();
    this.metrics.set(metric, found);
    return found;
  }

  want(metric: string, names: readonly string[]): () => void {
    this.begin();
    const one = this.of(metric);
    names.forEach((name) => one.wanted.set(name, (one.wanted.get(name) ?? 0) + 1));
    this.fetch(
      metric,
      names.filter((name) => !one.series.has(name) && !one.asked.has(name) && !one.missing.has(name)),
    );
    this.wish?.changed();
    return () => {
      for (const name of names) {
        const left = (one.wanted.get(name) ?? 1) - 1;
        if (left) one.wanted.set(name, left);
        else one.wanted.delete(name);
      }
      // Kept for a moment: a chart that was scrolled away comes back with all its points.
      setTimeout(() => this.forget(metric, one), 20_000);
    };
  }

  private forget(metric: string, one: OneMetric): void {
    for (const name of [...one.series.keys(), ...one.missing])
      if (!one.wanted.has(name)) {
        one.series.delete(name);
        one.missing.delete(name);
      }
    if (one.wanted.size === 0 && one.listeners.size === 0) this.metrics.delete(metric);
    for (const name of this.cursors.keys())
      if (![...this.metrics.values()].some((other) => other.series.has(name))) this.cursors.delete(name);
    this.wish?.changed();
  }

  private begin(): void {
    if (this.wish) return;
    this.wish = live.want(() => {
      const metrics = [...this.metrics].filter(([, one]) => one.wanted.size > 0);
      return { series: Object.fromEntries(this.cursors), metrics: metrics.map(([metric]) => metric) };
    });
    live.on('points', (message) => this.take(message));
    live.on('rows', (message) => {
      for (const row of message.rows) this.saved(row.name, row.checkpoints);
      // A run whose first point comes now.
      for (const [metric, one] of this.metrics) {
        const names = message.rows
          .map((row) => row.name)
          .filter((name) => one.missing.has(name) && one.wanted.has(name));
        const begun = names.filter((name) => message.rows.some((row) => row.name === name && metric in row.metrics));
        begun.forEach((name) => one.missing.delete(name));
        this.fetch(metric, begun);
      }
    });
    live.onAgain((isAnew) => {
      if (isAnew) for (const [metric, one] of this.metrics) this.fetch(metric, [...one.wanted.keys()]);
    });
  }

  /** A run that has saved has another mark on its curves. */
  private saved(name: string, checkpoints: number): void {
    const before = this.checkpoints.get(name);
    this.checkpoints.set(name, checkpoints);
    if (before === undefined || before === checkpoints || this.again.has(name)) return;
    this.again.add(name);
    setTimeout(() => {
      this.again.delete(name);
      for (const [metric, one] of this.metrics) if (one.wanted.has(name)) this.fetch(metric, [name]);
    }, SAVED_PAUSE_MS);
  }

  private take(message: Points): void {
    const one = this.metrics.get(message.metric);
    if (message.restart) {
      if (one?.wanted.has(message.run)) this.fetch(message.metric, [message.run]);
    } else if (one) {
      const series = one.series.get(message.run);
      if (series?.append(message.step, message.time, valuesOf(message))) this.paint(one);
      else if (!series && one.wanted.has(message.run) && !one.asked.has(message.run)) {
        one.missing.delete(message.run);
        this.fetch(message.metric, [message.run]);
      }
    }
    this.cursors.set(message.run, message.cursor);
  }

  private fetch(metric: string, names: readonly string[]): void {
    const one = this.of(metric);
    for (let at = 0; at < names.length; at += AT_ONCE) {
      const run = names.slice(at, at + AT_ONCE);
      run.forEach((name) => one.asked.add(name));
      const before = new Map(run.map((name) => [name, this.cursors.get(name)]));
      getBytes('/api/series', { run, metric }).then(
        (body) => {
          run.forEach((name) => one.asked.delete(name));
          one.refusal = null;
          this.put(metric, one, run, before, decode(body));
        },
        (cause: unknown) => {
          run.forEach((name) => one.asked.delete(name));
          if (!(cause instanceof Refusal)) throw cause;
          one.refusal = cause;
          this.changed(one);
        },
      );
    }
  }

  private put(
    metric: string,
    one: OneMetric,
    names: readonly string[],
    before: Map<string, string | undefined>,
    { series }: ReturnType<typeof decode>,
  ): void {
    const again: string[] = [];
    for (const columns of series) {
      const { run, cursor } = columns.header;
      one.series.set(run, new RunSeries(columns));
      const now = this.cursors.get(run);
      if (now === undefined) this.cursors.set(run, cursor);
      else if (now !== cursor) {
        // Logged between two answers. The stream goes on where it was when this was asked for: then nothing is
        // missing here, and what the others hold already is dropped by them. Where it had not begun, ask again.
        const asked = before.get(run);
        if (asked === undefined) again.push(run);
        else this.cursors.set(run, asked);
      }
    }
    const answered = new Set(series.map((columns) => columns.header.run));
    for (const name of names) if (!answered.has(name)) one.missing.add(name);
    this.changed(one);
    this.wish?.changed();
    if (again.length) this.fetch(metric, again);
  }

  private changed(one: OneMetric): void {
    one.generation += 1;
    one.version += 1;
    one.listeners.forEach((listener) => listener());
  }

  /** All that grew within a frame is drawn once. */
  private paint(one: OneMetric): void {
    this.grown.add(one);
    if (this.isPainting) return;
    this.isPainting = true;
    requestAnimationFrame(() => {
      this.isPainting = false;
      const all = [...this.grown];
      this.grown.clear();
      for (const grown of all) {
        grown.version += 1;
        grown.listeners.forEach((listener) => listener());
      }
    });
  }
}

export const watched = new Watched();

export interface MetricSeries {
  series: ReadonlyMap<string, RunSeries>;
  version: number;
  generation: number;
  refusal: Refusal | null;
  isLoading: boolean;
}

/** The series of a metric of these runs, for as long as the component is on the screen; null wants none. */
export function useSeries(metric: string | null, names: readonly string[]): MetricSeries | null {
  const key = names.join('\n');
  useEffect(() => (metric === null || key === '' ? undefined : watched.want(metric, key.split('\n'))), [metric, key]);
  const subscribe = useCallback(
    (listener: () => void) => {
      if (metric === null) return () => undefined;
      const one = watched.of(metric);
      one.listeners.add(listener);
      return () => one.listeners.delete(listener);
    },
    [metric],
  );
  useSyncExternalStore(subscribe, () => (metric === null ? 0 : watched.of(metric).version));
  if (metric === null) return null;
  const { series, version, generation, refusal, missing } = watched.of(metric);
  return {
    series,
    version,
    generation,
    refusal,
    isLoading: names.some((name) => !series.has(name) && !missing.has(name)),
  };
}
