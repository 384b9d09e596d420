// What Insight shows: the settings that differ among the runs of the query and the metric that one cares for. The
// brushes of the query are taken out before it is asked, so that what they hide can be shown in grey.
import { useMemo } from 'react';
import type { Refusal } from '../../api/ask';
import { useStore } from '../../api/store';
import type { Columns, MetricColumn, Schema, Value } from '../../api/types';
import { useGet } from '../../api/use';
import { actionsDone } from '../../app/actions';
import { useParam } from '../../app/url';
import { useView } from '../../app/view';
import { type Axis, axisOf, isNan } from './axes';
import { type Brush, passes, readBrushes, writeBrushes } from './brushes';

export interface Insight {
  names: string[];
  states: string[];
  matched: number;
  axes: Axis[];
  /** Values of an axis by run; of every setting that differs, shown or not. */
  values: ReadonlyMap<string, readonly Value[]>;
  settings: { name: string; title: string }[];
  target: { name: string; title: string; direction: 'min' | 'max' } | null;
  metrics: MetricColumn[];
  brushes: ReadonlyMap<string, Brush>;
  /** Whether each run passes the brushes. */
  isIn: readonly boolean[];
  /** Whether each run is among the best tenth of those that pass. */
  isBest: readonly boolean[];
  setBrush: (name: string, brush: Brush | null) => void;
  clearBrushes: () => void;
  setTarget: (key: string) => void;
  setDirection: (direction: 'min' | 'max') => void;
  setShown: (names: string[] | null) => void;
}

/** Most settings that are asked for, and most axes that are shown unless one says which. */
const MOST_ASKED = 40;
const MOST_AXES = 8;
const BEST_SHARE = 0.1;

export function useInsight(): { insight: Insight | null; refusal: Refusal | null } {
  const [view, change] = useView();
  const [targetKey, setTargetKey] = useParam('target');
  const [way, setWay] = useParam('way');
  const [axesShown, setAxesShown] = useParam('axes');
  const turn = useStore(actionsDone);
  const all = useGet<Columns>('/api/runs/columns', { turn: turn || null });
  const named = useMemo(() => namesOf(all.answer), [all.answer]);
  const { base, brushes } = useMemo(() => readBrushes(view.query, named), [view.query, named]);
  const columns = useGet<Columns>(all.answer ? '/api/runs/columns' : null, { query: base, turn: turn || null });
  const metrics = useMemo(() => columns.answer?.metrics ?? [], [columns.answer]);
  const metric =
    metrics.find((one) => one.key === targetKey) ??
    metrics.find((one) => /val|test|eval/i.test(one.key) && one.direction) ??
    metrics.find((one) => one.direction) ??
    metrics[0];
  const target = useMemo(() => {
    if (!metric) return null;
    const direction = way === 'min' || way === 'max' ? way : (metric.direction ?? 'min');
    return { name: `${direction}(${metric.name})`, title: metric.key, direction } as const;
  }, [metric, way]);
  const settings = useMemo(
    () =>
      (columns.answer?.config ?? [])
        .filter((one) => one.distinct > 1)
        .slice(0, MOST_ASKED)
        .map((one) => ({ name: one.name, title: one.key })),
    [columns.answer],
  );
  const asked = useMemo(
    () => [...settings.map((one) => one.name), ...(target ? [target.name] : [])],
    [settings, target],
  );
  const table = useGet<Schema<'ValueTable'>>(asked.length ? '/api/runs/values' : null, {
    column: asked,
    query: base,
    limit: 10_000,
    turn: turn || null,
  });

  const insight = useMemo<Insight | null>(() => {
    const answer = table.answer && onlyBegun(table.answer);
    if (!columns.answer || (asked.length && !answer)) return null;
    const names = answer?.names ?? [];
    const values = new Map(Object.entries((answer?.columns ?? {}) as Record<string, Value[]>));
    const chosen = axesShown?.split('\n');
    const shown = chosen ? settings.filter((one) => chosen.includes(one.name)) : settings.slice(0, MOST_AXES);
    const inOrder = chosen ? shown.sort((a, b) => chosen.indexOf(a.name) - chosen.indexOf(b.name)) : shown;
    const axes = [...inOrder, ...(target ? [target] : [])]
      .filter((one) => values.has(one.name))
      .map((one) => axisOf(one.name, one.title, values.get(one.name)!));
    const held = [...brushes];
    const isIn = names.map((_, at) =>
      held.every(([name, brush]) => {
        const column = values.get(name);
        return column === undefined || passes(brush, column[at], isNan(column[at]));
      }),
    );
    const goal = target ? (values.get(target.name) ?? []) : [];
    const isBest = bestOf(goal, isIn, target?.direction ?? 'min');
    return {
      names,
      states: answer?.states ?? [],
      matched: answer?.matched ?? 0,
      axes,
      values,
      settings,
      target,
      metrics,
      brushes,
      isIn,
      isBest,
      setBrush(name, brush) {
        const next = new Map(brushes);
        if (brush) next.set(name, brush);
        else next.delete(name);
        change({ query: writeBrushes(base, next) });
      },
      clearBrushes: () => change({ query: base }),
      setTarget: (key) => setTargetKey(key),
      setDirection: (direction) => setWay(direction),
      setShown: (next) => setAxesShown(next === null ? null : next.join('\n'), true),
    };
  }, [
    table,
    columns.answer,
    asked,
    settings,
    target,
    metrics,
    brushes,
    axesShown,
    base,
    change,
    setTargetKey,
    setWay,
    setAxesShown,
  ]);
  return { insight, refusal: all.refusal ?? columns.refusal ?? table.refusal };
}

/** Without the runs that have not begun: they have no metric, and would be lines to 'none'. */
function onlyBegun(table: Schema<'ValueTable'>): Schema<'ValueTable'> {
  const isIn = table.states.map((state) => state !== 'queued' && state !== 'draft');
  const only = <T>(all: readonly T[]) => all.filter((_, at) => isIn[at]);
  const columns = Object.fromEntries(Object.entries(table.columns).map(([name, column]) => [name, only(column)]));
  return {
    ...table,
    names: only(table.names),
    states: only(table.states),
    columns,
    matched: table.matched - isIn.filter((one) => !one).length,
  };
}

function namesOf(columns: Columns | null): string[] {
  if (!columns) return [];
  const metrics = columns.metrics.flatMap((one) => [`min(${one.name})`, `max(${one.name})`]);
  // Longer names first: a name that is a part of another one must not take its place.
  return [...columns.config.map((one) => one.name), ...metrics].sort((a, b) => b.length - a.length);
}

function bestOf(goal: readonly Value[], isIn: readonly boolean[], direction: 'min' | 'max'): boolean[] {
  const known = goal.flatMap((value, at) => (isIn[at] && typeof value === 'number' ? [{ value, at }] : []));
  known.sort((a, b) => (direction === 'min' ? a.value - b.value : b.value - a.value));
  const isBest = isIn.map(() => false);
  for (const { at } of known.slice(0, Math.max(1, Math.ceil(known.length * BEST_SHARE)))) isBest[at] = true;
  return isBest;
}
