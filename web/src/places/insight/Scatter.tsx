// Two of the settings or the metric against each other, coloured by a third.
import { useEffect, useMemo, useRef, useState } from 'react';
import type { Value } from '../../api/types';
import { useShownTheme } from '../../app/theme';
import { openRun } from '../../app/view';
import { Select } from '../../parts/Field';
import { cssColour } from '../../parts/RunMark';
import { apart, axisOf, place, ticksOf, wordOf } from './axes';
import css from './Insight.module.css';
import { colourAt } from './ramp';
import { mostTelling } from './rank';
import type { Insight } from './useInsight';
import { useSize } from './useSize';

const LEFT = 62;
const BOTTOM = 40;
const EDGE = 12;
const MISSING = 14;
/** Between the outermost points and the edges. */
const INSIDE = 8;

export function Scatter({
  insight,
  hovered,
  onHover,
}: {
  insight: Insight;
  hovered: number | null;
  onHover: (run: number | null) => void;
}) {
  const { settings, target, values, names, isIn } = insight;
  const options = useMemo(
    () => [...settings, ...(target ? [target] : [])].map((one) => ({ value: one.name, text: one.title })),
    [settings, target],
  );
  const [chosen, setChosen] = useState<{ x?: string; y?: string; colour?: string }>({});
  const pick = (name: string | undefined, otherwise: string) =>
    options.some((one) => one.value === name) ? name! : otherwise;
  const telling = useMemo(
    () => mostTelling(settings, values, target && values.get(target.name)),
    [settings, values, target],
  );
  const x = pick(chosen.x, telling ?? options[0]?.value ?? '');
  const y = pick(chosen.y, target?.name ?? options[1]?.value ?? '');
  const colour =
    chosen.colour === ''
      ? ''
      : pick(chosen.colour, options.find((one) => one.value !== x && one.value !== y)?.value ?? '');
  const frame = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const { width, height } = useSize(frame);
  const theme = useShownTheme();
  const plot = useMemo(() => {
    const title = (name: string) => options.find((one) => one.value === name)?.text ?? name;
    const column = (name: string): readonly Value[] => values.get(name) ?? [];
    const [xs, ys] = [axisOf(x, title(x), column(x)), axisOf(y, title(y), column(y))];
    const shades = colour ? axisOf(colour, title(colour), column(colour)) : null;
    const [low, high] = [LEFT + INSIDE + (xs.hasNone || xs.hasNan ? MISSING * 2 : 0), width - EDGE - INSIDE];
    const [floor, top] = [height - BOTTOM - INSIDE - (ys.hasNone || ys.hasNan ? MISSING * 2 : 0), EDGE + INSIDE];
    const points = names.map((_, at) => {
      const [px, py] = [place(xs, column(x)[at]), place(ys, column(y)[at])];
      const shade = shades ? place(shades, column(colour)[at]) : 0.5;
      return {
        left:
          px === null ? NaN : px === 'none' ? LEFT + 4 : px === 'nan' ? LEFT + 4 + MISSING : low + px * (high - low),
        top:
          py === null
            ? NaN
            : py === 'none'
              ? height - BOTTOM - 4
              : py === 'nan'
                ? height - BOTTOM - 4 - MISSING
                : floor - py * (floor - top),
        shade: typeof shade === 'number' ? shade : null,
      };
    });
    return { xs, ys, shades, points, low, high, floor, top };
  }, [names, values, options, x, y, colour, width, height]);

  useEffect(() => {
    const context = canvas.current?.getContext('2d');
    if (!context || width === 0) return;
    const scale = devicePixelRatio || 1;
    canvas.current!.width = width * scale;
    canvas.current!.height = height * scale;
    context.setTransform(scale, 0, 0, scale, 0, 0);
    const [grid, text, out, plain] = ['--grid', '--soft', '--line-strong', '--accent'].map(cssColour) as [
      string,
      string,
      string,
      string,
    ];
    const { xs, ys, points, low, high, floor, top } = plot;
    context.font = '11px system-ui, sans-serif';
    context.lineWidth = 1;
    context.strokeStyle = grid;
    context.fillStyle = text;
    context.textAlign = 'center';
    for (const tick of apart(ticksOf(xs, Math.max(2, Math.floor(width / 90))), high - low, 44)) {
      if (tick.share < -0.01 || tick.share > 1.01) continue;
      const left = Math.round(low + tick.share * (high - low)) + 0.5;
      line(context, left, EDGE, left, height - BOTTOM);
      context.fillText(tick.text, left, height - BOTTOM + 15);
    }
    context.textAlign = 'right';
    context.textBaseline = 'middle';
    for (const tick of apart(ticksOf(ys, Math.max(2, Math.floor(height / 50))), floor - top, 14)) {
      if (tick.share < -0.01 || tick.share > 1.01) continue;
      const at = Math.round(floor - tick.share * (floor - top)) + 0.5;
      line(context, LEFT, at, width - EDGE, at);
      context.fillText(tick.text, LEFT - 8, at);
    }
    if (ys.hasNone || ys.hasNan)
      context.fillText(ys.hasNan ? 'NaN' : 'none', LEFT - 8, height - BOTTOM - 4 - (ys.hasNan ? MISSING : 0));
    const dot = (at: number, fill: string, alpha: number, radius: number) => {
      const point = points[at]!;
      if (Number.isNaN(point.left) || Number.isNaN(point.top)) return;
      context.globalAlpha = alpha;
      context.fillStyle = fill;
      context.beginPath();
      context.arc(point.left, point.top, radius, 0, 7);
      context.fill();
    };
    const radius = points.length > 2000 ? 2 : points.length > 300 ? 3 : 4;
    points.forEach((_, at) => !isIn[at] && dot(at, out, 0.5, radius));
    points.forEach(
      (point, at) =>
        isIn[at] && dot(at, colour ? (point.shade === null ? out : colourAt(point.shade, theme)) : plain, 0.9, radius),
    );
    context.globalAlpha = 1;
  }, [plot, isIn, theme, width, height, colour]);

  const ringed = hovered === null ? undefined : plot.points[hovered];
  const find = (event: React.PointerEvent) => {
    const edge = frame.current!.getBoundingClientRect();
    let [best, distance] = [null as number | null, 14];
    plot.points.forEach((point, at) => {
      const off = Math.hypot(point.left - event.clientX + edge.left, point.top - event.clientY + edge.top);
      if (isIn[at] && off < distance) [best, distance] = [at, off];
    });
    onHover(best);
  };
  return (
    <section className={css.scatter} aria-label="Scatter">
      <div className={css.scatterBar}>
        <Select
          quiet
          label="Horizontal"
          value={x}
          options={options}
          onChange={(next) => setChosen({ ...chosen, x: next })}
        />
        <span className={css.soft}>×</span>
        <Select
          quiet
          label="Vertical"
          value={y}
          options={options}
          onChange={(next) => setChosen({ ...chosen, y: next })}
        />
        <span className={css.grow} />
        <span className={css.soft}>colour</span>
        <Select
          quiet
          label="Colour"
          value={colour}
          options={[{ value: '', text: 'one' }, ...options]}
          onChange={(next) => setChosen({ ...chosen, colour: next })}
        />
        {plot.shades && (
          <Legend
            low={plot.shades.kind === 'category' ? wordOf(plot.shades.categories[0]) : wordOf(plot.shades.low)}
            high={
              plot.shades.kind === 'category'
                ? wordOf(plot.shades.categories[plot.shades.categories.length - 1])
                : wordOf(plot.shades.high)
            }
            theme={theme}
          />
        )}
      </div>
      <div
        ref={frame}
        className={css.scatterPlot}
        role="img"
        aria-label={`${plot.ys.title} over ${plot.xs.title}, ${names.length} runs`}
        style={{ cursor: hovered === null ? undefined : 'pointer' }}
        onPointerMove={find}
        onPointerLeave={() => onHover(null)}
        onClick={() => hovered !== null && openRun(names[hovered]!)}
      >
        <canvas ref={canvas} style={{ width, height }} />
        {ringed && !Number.isNaN(ringed.left + ringed.top) && (
          <span className={css.ring} style={{ left: ringed.left, top: ringed.top }} />
        )}
        <span className={css.xName}>{plot.xs.title}</span>
      </div>
    </section>
  );
}

function line(context: CanvasRenderingContext2D, x1: number, y1: number, x2: number, y2: number): void {
  context.beginPath();
  context.moveTo(x1, y1);
  context.lineTo(x2, y2);
  context.stroke();
}

function Legend({ low, high, theme }: { low: string; high: string; theme: 'dark' | 'light' }) {
  return (
    <span className={css.legend}>
      {low}
      <svg width="60" height="8" aria-hidden="true">
        {Array.from({ length: 12 }, (_, at) => (
          <rect key={at} x={at * 5} width="5.5" height="8" fill={colourAt(at / 11, theme)} />
        ))}
      </svg>
      {high}
    </span>
  );
}
