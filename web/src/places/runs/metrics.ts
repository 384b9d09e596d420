// The metrics of runs: which charts there are, and whose curves are in each.
import type { Columns, MetricColumn, RunRow } from '../../api/types';

type Logged = Pick<RunRow, 'name' | 'state'> & { metrics: Readonly<Record<string, unknown>> };

/** All metrics that these runs have logged: those whose direction is known first. */
export function metricsOf(rows: readonly Logged[], known: Columns | null): MetricColumn[] {
  const counts = new Map<string, number>();
  for (const row of rows) for (const key of Object.keys(row.metrics)) counts.set(key, (counts.get(key) ?? 0) + 1);
  const found = [...counts].map(([key, runs]): MetricColumn => {
    const at = key.lastIndexOf('/');
    const group = at < 0 ? '' : key.slice(0, at);
    return (
      known?.metrics.find((one) => one.key === key) ?? { key, name: key, group, runs, direction: directionOf(key) }
    );
  });
  return found.sort((a, b) => rank(a) - rank(b) || a.key.localeCompare(b.key));
}

const directionOf = (key: string) =>
  /loss|err|perplexity|mae|mse/i.test(key) ? 'min' : /acc|auc|f1|bleu|iou/i.test(key) ? 'max' : null;
const rank = (one: MetricColumn) => (one.direction ? 0 : 2) + (/loss/.test(one.key) ? 0 : 1);

/** Names of the runs that have logged a metric, and of those that may yet. */
export function withCurve(rows: readonly Logged[], metric: string): string[] {
  return rows.filter((row) => metric in row.metrics || row.state === 'running').map((row) => row.name);
}
