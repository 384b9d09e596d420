// Which columns the table of runs has: what they are called, how they are sorted, what stands in them.
import type { Columns, RunRow, Value } from '../../api/types';

export const OVER_STEPS = ['last', 'best', 'min', 'max', 'first'] as const;
export type OverSteps = (typeof OVER_STEPS)[number];

/** 'fact:state' · 'config:lr' · 'metric:val/loss' · 'metric:val/loss|min' */
export type ColumnId = string;

export interface Column {
  id: ColumnId;
  title: string;
  tip: string;
  width: number;
  isNumber: boolean;
  /** The name that the server sorts by; null: it cannot be. */
  sort: string | null;
}

export const FACTS: Record<
  string,
  { title: string; width: number; isNumber?: boolean; sort: string | null; tip?: string }
> = {
  state: { title: 'state', width: 88, sort: 'state' },
  created: { title: 'age', width: 66, isNumber: true, sort: 'created', tip: 'When it was made' },
  duration: { title: 'took', width: 78, isNumber: true, sort: 'duration', tip: 'How long it ran' },
  step: { title: 'step', width: 76, isNumber: true, sort: 'step' },
  label: { title: 'differs', width: 180, sort: null, tip: 'What tells it from the other runs here' },
  tags: { title: 'tags', width: 130, sort: null },
  note: { title: 'note', width: 200, sort: 'note' },
  parent: { title: 'parent', width: 140, sort: 'parent', tip: 'The checkpoint it began from' },
  script: { title: 'script', width: 110, sort: 'script' },
  checkpoints: { title: 'saved', width: 64, isNumber: true, sort: 'checkpoints', tip: 'Checkpoints' },
  size: { title: 'size', width: 76, isNumber: true, sort: 'size', tip: 'On the disk' },
  reason: { title: 'reason', width: 220, sort: null, tip: 'Why it failed or was stopped' },
};

export function parseColumn(id: ColumnId): { kind: 'fact' | 'config' | 'metric'; key: string; of: OverSteps } {
  const at = id.indexOf(':');
  const kind = id.slice(0, at);
  const rest = id.slice(at + 1);
  if (kind !== 'metric') return { kind: kind === 'config' ? 'config' : 'fact', key: rest, of: 'last' };
  const bar = rest.lastIndexOf('|');
  const of = OVER_STEPS.find((one) => bar >= 0 && one === rest.slice(bar + 1));
  return { kind: 'metric', key: of ? rest.slice(0, bar) : rest, of: of ?? 'last' };
}

export function metricColumn(key: string, of: OverSteps): ColumnId {
  return of === 'last' ? `metric:${key}` : `metric:${key}|${of}`;
}

/** The columns with these ids. */
export function columnsOf(ids: readonly ColumnId[], known: Columns | null): Column[] {
  return ids.map((id) => {
    const { kind, key, of } = parseColumn(id);
    if (kind === 'fact') {
      const fact = FACTS[key] ?? { title: key, width: 100, sort: key };
      return {
        id,
        title: fact.title,
        tip: fact.tip ?? key,
        width: fact.width,
        isNumber: fact.isNumber ?? false,
        sort: fact.sort,
      };
    }
    if (kind === 'config') {
      const found = known?.config.find((one) => one.key === key);
      const isNumber = found ? found.kind === 'int' || found.kind === 'float' : true;
      return {
        id,
        title: key,
        tip: `${key}: a setting`,
        width: Math.max(found?.kind === 'float' ? 82 : 60, Math.min(150, 30 + 6.6 * key.length)),
        isNumber,
        sort: found?.name ?? key,
      };
    }
    const found = known?.metrics.find((one) => one.key === key);
    const name = found?.name ?? key;
    const short = key.length > 16 ? `…${key.slice(-15)}` : key;
    return {
      id,
      title: of === 'last' ? short : `${of} ${short}`,
      tip: `${key}: ${SAID[of]}${found?.direction ? `; ${found.direction === 'min' ? 'lower' : 'higher'} is better` : ''}`,
      width: Math.max(76, Math.min(150, 30 + 6.6 * (short.length + (of === 'last' ? 0 : of.length + 1)))),
      isNumber: true,
      sort: of === 'last' ? name : `${of}(${name})`,
    };
  });
}

const SAID: Record<OverSteps, string> = {
  last: 'its last value',
  best: 'its best value',
  min: 'its least value',
  max: 'its greatest value',
  first: 'its first value',
};

const USUAL_SETTINGS = 4;
const USUAL_METRICS = 3;

/** What is shown where nobody has chosen: settings that differ, and the metrics that say how good a run is. */
export function usualColumns(known: Columns | null): ColumnId[] {
  if (!known) return ['fact:state', 'fact:created'];
  const most = Math.max(1, ...known.config.map((one) => one.runs));
  const settings = known.config
    .filter((one) => one.distinct > 1 && one.runs * 4 >= most && one.key !== 'seed')
    .sort((a, b) => kindRank(a.kind) - kindRank(b.kind))
    .slice(0, USUAL_SETTINGS);
  const metrics = [...known.metrics]
    .sort((a, b) => metricRank(a.key, a.direction) - metricRank(b.key, b.direction))
    .slice(0, USUAL_METRICS);
  const [first, ...others] = metrics.map((one) => metricColumn(one.key, 'last'));
  return [
    'fact:state',
    ...(first ? [first] : []),
    ...settings.map((one) => `config:${one.key}`),
    ...others,
    'fact:step',
    'fact:created',
  ];
}

const kindRank = (kind: string) => (kind === 'float' ? 0 : kind === 'int' ? 1 : 2);
const metricRank = (key: string, direction: string | null) =>
  (direction ? 0 : 4) + (/(^|[/_])(val|valid|eval|test)/.test(key) ? 0 : 1) + (/loss|acc/.test(key) ? 0 : 2);

/** What a run has in a column; `nonfinite` spells the number that JSON has not. */
export function cellOf(row: RunRow, id: ColumnId): { value: Value | undefined; nonfinite: string | undefined } {
  const { kind, key, of } = parseColumn(id);
  if (kind === 'config') return { value: row.config[key] as Value | undefined, nonfinite: undefined };
  const source = { last: row.metrics, best: row.best, min: row.lowest, max: row.highest, first: row.first }[of];
  return { value: source[key] as Value | undefined, nonfinite: of === 'last' ? row.nonfinite[key] : undefined };
}
