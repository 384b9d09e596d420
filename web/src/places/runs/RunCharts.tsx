// Small multiples: one chart a metric, by the group that its name says, linked by one crosshair. Only charts in view
// are there, and only their series are fetched.
import { type ReactNode, useEffect, useMemo, useRef, useState } from 'react';
import { useStore } from '../../api/store';
import type { Columns, MetricColumn, RunRow, RunsPage } from '../../api/types';
import { kept } from '../../app/kept';
import { useKeys } from '../../app/keys';
import { useRows } from '../../app/rows';
import { hotRun, select } from '../../app/selection';
import { useShownTheme } from '../../app/theme';
import { X_AXES, changeView, useView } from '../../app/view';
import { Crosshair } from '../../chart/crosshair';
import type { XKind } from '../../chart/axis';
import { Button } from '../../parts/Button';
import { Empty } from '../../parts/Empty';
import { Icon } from '../../parts/Icon';
import { cssColour, runColour } from '../../parts/RunMark';
import { ChartCard, type SharedLook } from './ChartCard';
import { ChartToolbar } from './ChartToolbar';
import css from './Charts.module.css';
import type { Grouping } from './groups';
import { type RunGroup, useRunGroups } from './means';
import { metricsOf } from './metrics';
import { resetZoom } from './zoom';

export interface RunChartsProps {
  /** Of the runs whose curves are shown. */
  names: readonly string[];
  /** An answer that has rows of them. */
  page?: RunsPage | undefined;
  /** What metrics are known to be: which way is better. */
  known?: Columns | null;
  /** What they are grouped by, for a mean a group; null: by nothing, or not known yet. */
  grouping?: Grouping | null;
  /** The charts of one run, in its panel: one beside the other where there is room, no keys. */
  isPanel?: boolean;
}

const GAP_PX = 10;
const HEIGHTS = { 1: 300, 2: 208, 3: 168 } as const;
const folded = kept<readonly string[]>('folded', []);

export function RunCharts({ names, page, known = null, grouping = null, isPanel = false }: RunChartsProps) {
  const rows = useRows(names, page);
  const [view] = useView();
  const theme = useShownTheme();
  const [link] = useState(() => new Crosshair());
  const [text, setText] = useState('');
  const closed = useStore(folded);
  const ink = useMemo(
    () => ({
      theme,
      text: cssColour('--faint'),
      grid: cssColour('--grid'),
      bad: cssColour('--bad'),
      panel: cssColour('--panel'),
      faded: cssColour('--line-strong'),
    }),
    [theme],
  );
  // The palette is read anew in another theme.
  const palette = useMemo(() => Array.from({ length: 8 }, (_, i) => (ink.theme ? runColour(i) : '')), [ink]);
  const { logX, logY, smooth, band, x } = view;
  const [from, to] = view.zoom ?? [];
  const xKind: XKind = x === 'clock' ? 'clock' : x === 'time' ? 'duration' : x.startsWith('m:') ? 'number' : 'count';
  const look = useMemo<SharedLook>(
    () => ({
      xKind,
      logX: logX && (xKind === 'number' || xKind === 'count'),
      logY,
      smooth,
      band,
      zoom: from === undefined || to === undefined ? null : [from, to],
    }),
    [xKind, logX, logY, smooth, band, from, to],
  );
  const metrics = useMetrics(rows, known);
  const groups = useRunGroups(rows, grouping);
  const isGrouped = !isPanel && view.group.length > 0;
  const [box, setBox] = useState<HTMLDivElement | null>(null);
  const room = useSize(box);
  const shown = text ? metrics.filter((one) => one.key.toLowerCase().includes(text.toLowerCase())) : metrics;
  const sections = useMemo(() => sectionsOf(shown), [shown]);
  const full = isPanel ? undefined : metrics.find((one) => one.key === view.chart);
  const fitting = Math.max(1, Math.floor(room.width / LEAST_PX));
  const perRow = Math.min(isPanel ? 2 : view.perRow, fitting) as 1 | 2 | 3;
  const height = heightIn(room.height, perRow, sections);
  const one = (column: MetricColumn, height: number): ReactNode => (
    <ChartCard
      key={column.key}
      metric={column.key}
      column={column}
      rows={rows}
      groups={isGrouped && !view.each ? (groups ?? NOT_KNOWN) : null}
      x={x}
      look={look}
      ink={ink}
      palette={palette}
      link={link}
      height={height}
      isFull={column.key === view.chart}
      onFull={fill}
    />
  );
  return (
    <div className={css.charts}>
      <h2 className="unseen">Charts</h2>
      {!isPanel && <ChartKeys metrics={shown} />}
      <ChartToolbar metrics={metrics} text={text} onText={setText} isPanel={isPanel} isGrouped={isGrouped} />
      {names.length === 0 && view.query && !Array.isArray(view.selected) ? (
        <Empty title="No run with a curve passes the filter">
          <Button onClick={() => changeView({ query: '' })}>Clear the filter</Button>
        </Empty>
      ) : names.length === 0 ? (
        <Empty
          title="No run is selected"
          text="Check a run in the table, or hold Shift and click another one, to see its curves here."
        />
      ) : full ? (
        <Full>{(height) => one(full, height)}</Full>
      ) : rows.length === 0 ? (
        <div className={css.late}>
          <Empty title="These runs are not there any more">
            {!isPanel && <Button onClick={() => select(null)}>Show the running and the latest</Button>}
          </Empty>
        </div>
      ) : metrics.length === 0 ? (
        <Empty title="These runs have logged no metric yet" command='logger.log({"loss": loss}, step)' />
      ) : (
        <div className={css.scroll} tabIndex={-1} ref={setBox}>
          {sections.map(([group, columns]) => {
            const isFolded = closed.includes(group) && sections.length > 1;
            return (
              <section key={group}>
                {sections.length > 1 && (
                  <h2 className={css.group}>
                    <button
                      type="button"
                      aria-expanded={!isFolded}
                      onClick={() =>
                        folded.set((all) => (isFolded ? all.filter((name) => name !== group) : [...all, group]))
                      }
                    >
                      <Icon name={isFolded ? 'right' : 'down'} size={12} />
                      {group || 'metrics'} <span>{columns.length}</span>
                    </button>
                  </h2>
                )}
                {!isFolded && (
                  <div
                    className={css.multiples}
                    style={{ gridTemplateColumns: `repeat(${perRow}, minmax(0, 1fr))`, gap: GAP_PX }}
                  >
                    {columns.map((column) => (
                      <InView key={column.key} height={height + HEAD_PX} isFirst={shown.indexOf(column) < perRow}>
                        {() => one(column, height)}
                      </InView>
                    ))}
                  </div>
                )}
              </section>
            );
          })}
          {shown.length === 0 && rows.length > 0 && <Empty title="No metric has this in its name" text={text} />}
        </div>
      )}
    </div>
  );
}

const HEAD_PX = 38;
const MOST_PX = 420;
/** Narrower than this, a chart is no longer read. */
const LEAST_PX = 280;

/** A few charts share the room that there is; many have the height that they are read well at. */
function heightIn(room: number, perRow: 1 | 2 | 3, groups: readonly [string, readonly MetricColumn[]][]): number {
  const usual = HEIGHTS[perRow];
  if (groups.length !== 1) return usual;
  const lines = Math.ceil(groups[0]![1].length / perRow);
  const each = Math.floor((room - GAP_PX) / Math.max(1, lines)) - GAP_PX - HEAD_PX;
  return Math.max(usual, Math.min(MOST_PX, each));
}

function useSize(box: HTMLElement | null): { width: number; height: number } {
  const [size, setSize] = useState({ width: 900, height: 0 });
  useEffect(() => {
    if (!box) return undefined;
    const sized = new ResizeObserver(() => setSize({ width: box.clientWidth, height: box.clientHeight }));
    sized.observe(box);
    return () => sized.disconnect();
  }, [box]);
  return size;
}

const NOT_KNOWN: RunGroup[] = [];
const fill = (chart: string | null) => changeView({ chart });

/** The same list while it says the same, so that charts stay as they are when rows change. */
function useMetrics(rows: readonly RunRow[], known: Columns | null): MetricColumn[] {
  const all = useMemo(() => metricsOf(rows, known), [rows, known]);
  const said = all.map((one) => `${one.key} ${one.direction}`).join('\n');
  // eslint-disable-next-line react-hooks/exhaustive-deps
  return useMemo(() => all, [said]);
}

function sectionsOf(metrics: readonly MetricColumn[]): [string, MetricColumn[]][] {
  const groups = new Map<string, MetricColumn[]>();
  for (const one of metrics) groups.set(one.group, [...(groups.get(one.group) ?? []), one]);
  // A few charts need no headings.
  if (metrics.length <= 6) return [['', [...metrics]]];
  const order = (group: string) =>
    group === '' ? 0 : /val|valid|eval|test/.test(group) ? 1 : /train/.test(group) ? 2 : 3;
  return [...groups].sort(([a], [b]) => order(a) - order(b) || a.localeCompare(b));
}

/** Its children are in the page only while it is in view, or near; the first ones are at once, before that is known. */
function InView({ height, isFirst, children }: { height: number; isFirst: boolean; children: () => ReactNode }) {
  const box = useRef<HTMLDivElement>(null);
  const [isIn, setIn] = useState(isFirst);
  useEffect(() => {
    const watcher = new IntersectionObserver((all) => setIn(all.at(-1)!.isIntersecting), { rootMargin: '120px 0px' });
    watcher.observe(box.current!);
    return () => watcher.disconnect();
  }, []);
  return (
    <div ref={box} className={css.slot} style={{ minHeight: height }}>
      {isIn && children()}
    </div>
  );
}

/** One chart, as high as there is room. */
function Full({ children }: { children: (height: number) => ReactNode }) {
  const [box, setBox] = useState<HTMLDivElement | null>(null);
  const height = useSize(box).height - HEAD_PX - 2 * GAP_PX;
  return (
    <div ref={setBox} className={css.full}>
      {height > 0 && children(height)}
    </div>
  );
}

const SMOOTHS = [0, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99];

function ChartKeys({ metrics }: { metrics: readonly MetricColumn[] }) {
  const [view] = useView();
  const smoothed = (by: number) => () => {
    const at = SMOOTHS.findIndex((one) => one >= view.smooth);
    changeView({ smooth: SMOOTHS[Math.max(0, Math.min(SMOOTHS.length - 1, at + by))]! }, true);
  };
  useKeys('charts', {
    logY: () => changeView({ logY: !view.logY }),
    x: () => changeView({ x: X_AXES[(X_AXES.indexOf(view.x as never) + 1) % X_AXES.length]!, zoom: null }),
    smoothLess: smoothed(-1),
    smoothMore: smoothed(1),
    band: () => changeView({ band: !view.band }),
    each: () => changeView({ each: !view.each }),
    full: () => changeView({ chart: view.chart === null ? (pointedAt() ?? metrics[0]?.key ?? null) : null }),
    reset: resetZoom,
    back: () => (view.chart !== null ? changeView({ chart: null }) : resetZoom()),
  });
  useEffect(() => () => hotRun.set(null), []);
  return null;
}

/** The metric whose chart the pointer is in. */
function pointedAt(): string | null {
  const all = document.querySelectorAll<HTMLElement>('[data-metric]:hover');
  return all[all.length - 1]?.dataset['metric'] ?? null;
}
