// One metric of some runs: the chart, what is read at the crosshair, and the marks of saved weights below it.
import { memo, useCallback, useMemo, useRef, useState } from 'react';
import { address, download } from '../../api/ask';
import { makeStore, useStore } from '../../api/store';
import type { MetricColumn, RunRow } from '../../api/types';
import { hotRun } from '../../app/selection';
import { type XAxis, useView } from '../../app/view';
import { Chart, type ChartHandle } from '../../chart/Chart';
import type { Crosshair } from '../../chart/crosshair';
import type { Ink, Laid, Look, Pick, Reading, Zoom } from '../../chart/plot';
import type { Line } from '../../chart/line';
import { IconButton } from '../../parts/Button';
import { showMenu } from '../../parts/Menu';
import { number, plural } from '../../parts/format';
import { toast } from '../../parts/Toast';
import css from './Charts.module.css';
import { ChartTable } from './ChartTable';
import { GroupReadout, Readout } from './Readout';
import { WeightMarks, openMark } from './WeightMarks';
import { linesOf } from './lines';
import { type GroupMean, type RunGroup, meanLines, meansOf, useCalm } from './means';
import { withCurve } from './metrics';
import { type MetricSeries, useSeries } from './watched';
import { zoomTo } from './zoom';

/** How all charts are drawn. */
export type SharedLook = Omit<Look, 'zoomY'>;

export interface ChartCardProps {
  metric: string;
  column: MetricColumn | undefined;
  rows: readonly RunRow[];
  /** One curve for each of them, instead of one for each run; null: they are not grouped. */
  groups: readonly RunGroup[] | null;
  x: XAxis;
  look: SharedLook;
  ink: Ink;
  palette: readonly string[];
  link: Crosshair;
  height: number;
  isFull: boolean;
  onFull: (metric: string | null) => void;
}

export const ChartCard = memo(function ChartCard(props: ChartCardProps) {
  const { metric, column, rows, groups, x, ink, palette, link, height, isFull, onFull } = props;
  const names = useMemo(() => withCurve(rows, metric), [rows, metric]);
  const [{ zoomY }] = useView('zoomY');
  const [, from, to] = zoomY.find((one) => one[0] === metric) ?? [];
  const look = useMemo<Look>(
    () => ({ ...props.look, zoomY: from === undefined || to === undefined ? null : [from, to] }),
    [props.look, from, to],
  );
  const seen = useSeries(metric, names)!;
  const other = useSeries(x.startsWith('m:') ? x.slice(2) : null, names);
  const hot = useStore(hotRun);
  const [laid, setLaid] = useState<Laid | null>(null);
  const [isTable, setTable] = useState(false);
  const [reading] = useState(() => makeStore<Reading | null>(null));
  const handle = useRef<ChartHandle>(null);
  const { series, generation, version } = seen;
  const otherVersion = other?.version ?? 0;
  const calm = useCalm(version + otherVersion);
  const means = useMemo(
    () => (groups ? meansOf(groups, series, other?.series ?? null, x) : null),
    // The maps are changed in place: their generation, and how far they have grown, say when.
    // eslint-disable-next-line react-hooks/exhaustive-deps
    [groups, generation, calm, x],
  );
  const ofGroups = useMemo(() => means && meanLines(means, palette, ink.faded), [means, palette, ink]);
  const isEach = means === null;
  const ofRuns = useMemo(
    () => (isEach ? linesOf(names, rows, series, other?.series ?? null, x, palette, ink.faded) : []),
    // The maps are changed in place: their generation says when.
    // eslint-disable-next-line react-hooks/exhaustive-deps
    [isEach, names, rows, generation, otherVersion, x, palette, ink],
  );
  const lines = ofGroups ?? ofRuns;
  const onLaid = useCallback(
    (next: Laid) => setLaid((before) => (before && sameLaid(before, next) ? before : next)),
    [],
  );
  const onZoom = useCallback((zoom: Zoom) => zoomTo(metric, zoom), [metric]);
  const onHot = useCallback((id: string | null) => hotRun.set(id), []);
  const onRead = useCallback((next: Reading | null) => reading.set(next), [reading]);
  const onPick = ({ id, saved, event }: Pick) => {
    const row = rows.find((one) => one.name === id);
    const mark = series.get(id)?.marks[saved];
    if (row && mark) openMark([{ row, mark }], event);
  };
  const summary = useMemo(() => summaryOf(metric, lines, means), [metric, lines, means]);

  const menu = (event: React.MouseEvent) =>
    showMenu(event.currentTarget, `${metric}: more`, [
      { text: 'Show as table', icon: 'table', run: () => setTable(true) },
      {
        text: 'Save as PNG',
        icon: 'download',
        run: () => void handle.current?.png(metric).then((blob) => blob && save(blob, `${fileName(metric)}.png`)),
      },
      { text: 'Save as CSV', icon: 'download', run: () => download('/api/series.csv', { run: names, metric }) },
      {
        text: 'Copy its address',
        icon: 'link',
        run: () =>
          void navigator.clipboard
            .writeText(
              location.origin +
                address(location.pathname, {
                  ...Object.fromEntries(new URLSearchParams(location.search)),
                  chart: metric,
                }),
            )
            .then(() => toast({ text: 'The address of this chart is in the clipboard.' })),
      },
    ]);

  return (
    <section className={css.card} aria-label={metric} data-metric={metric}>
      <header className={css.head}>
        <Title metric={metric} />
        {means ? (
          <GroupReadout reading={reading} means={means} />
        ) : (
          <Readout
            reading={reading}
            rows={rows}
            seen={seen}
            metric={metric}
            column={column}
            count={lines.filter((line) => !line.isBackground).length}
          />
        )}
        <div className={css.tools}>
          <IconButton
            icon={isFull ? 'small' : 'full'}
            label={isFull ? 'Small again' : 'Fill the place'}
            keys="f"
            onClick={() => onFull(isFull ? null : metric)}
          />
          <IconButton icon="more" label="More" aria-haspopup="menu" onClick={menu} />
        </div>
      </header>
      <div className={css.body} style={{ height }}>
        <Chart
          handle={handle}
          lines={lines}
          version={version}
          look={look}
          ink={ink}
          hot={hot}
          link={link}
          label={summary}
          height={height}
          onHot={onHot}
          onRead={onRead}
          onZoom={onZoom}
          onLaid={onLaid}
          onPick={onPick}
        />
        {laid && lines.length > 0 && !means && (
          <WeightMarks laid={laid} rows={rows} series={series} x={x} hot={hot} generation={generation} />
        )}
        {lines.every((line) => line.curve.length === 0) && !seen.isLoading && !other?.isLoading && (
          <div className={css.nothing}>{whyNothing(metric, x, names, seen, other)}</div>
        )}
      </div>
      {isTable && (
        <ChartTable metric={metric} rows={rows} groups={groups} series={series} onClose={() => setTable(false)} />
      )}
    </section>
  );
});

/** Why there is no curve. */
function whyNothing(
  metric: string,
  x: XAxis,
  names: readonly string[],
  seen: MetricSeries,
  other: MetricSeries | null,
): string {
  const refusal = seen.refusal ?? other?.refusal;
  if (refusal) return refusal.message;
  const hasPoints = (one: MetricSeries) => names.some((name) => one.series.get(name)?.length);
  if (!other || !hasPoints(seen)) return 'None of these runs has logged it.';
  const who = names.length === 1 ? names[0] : 'None of these runs';
  const did = names.length === 1 ? 'did not log' : 'logged';
  return `${who} ${did} ${x.slice(2)}${hasPoints(other) ? ` at a step of ${metric}` : ''}.`;
}

function Title({ metric }: { metric: string }) {
  const at = metric.lastIndexOf('/') + 1;
  return (
    <h3 className={css.title} data-tip={metric.length > 30 ? metric : undefined}>
      <span>{metric.slice(0, at)}</span>
      {metric.slice(at)}
    </h3>
  );
}

/** 'val/loss of 8 runs: from 0.215 (calm-otter) to 0.82 (swift-fjord) at their ends.' */
function summaryOf(metric: string, lines: readonly Line[], means: readonly GroupMean[] | null): string {
  const named = new Map(means?.map(({ group, runs }) => [group.id, `${group.name}: mean of ${plural(runs, 'run')}`]));
  const ends = lines
    .filter((line) => !line.isBackground && line.curve.length > 0)
    .map((line) => ({ id: named.get(line.id) ?? line.id, value: line.curve.y[line.curve.length - 1]! }))
    .sort((a, b) => a.value - b.value);
  if (ends.length === 0) return `${metric}: no curve`;
  const [low, high] = [ends[0]!, ends[ends.length - 1]!];
  if (ends.length === 1) return `${metric} of ${low.id}: ${number(low.value)} at its end.`;
  return `${metric} of ${plural(ends.length, means ? 'group' : 'run')}: from ${number(low.value)} (${low.id}) to ${number(high.value)} (${high.id}) at their ends.`;
}

const sameLaid = (a: Laid, b: Laid) =>
  a.left === b.left &&
  a.width === b.width &&
  a.top === b.top &&
  a.height === b.height &&
  a.x.from === b.x.from &&
  a.x.to === b.x.to &&
  a.x.isLog === b.x.isLog;

const fileName = (metric: string) => metric.replace(/[^\w.-]+/g, '_');

function save(blob: Blob, name: string): void {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
