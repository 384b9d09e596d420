// Parallel coordinates: each run a line over its settings to the metric. A drag on an axis filters all four places.
import { useEffect, useMemo, useRef, useState } from 'react';
import { openRun } from '../../app/view';
import { useShownTheme } from '../../app/theme';
import { type MenuItem, showMenu } from '../../parts/Menu';
import { names } from '../../parts/names';
import { cssColour } from '../../parts/RunMark';
import { type Axis, numberAt, ticksOf, wordOf } from './axes';
import type { Brush } from './brushes';
import css from './Insight.module.css';
import { type Box, NAN_BELOW, NONE_BELOW, axisX, layLines, linePath, nearestLine, paintLines, shareY } from './lines';
import type { Insight } from './useInsight';
import { useSize } from './useSize';

/** A drag shorter than this is a click. */
const CLICK_PX = 4;
const REACH = 14;

interface Dragging {
  axis: number;
  from: number;
  to: number;
}

export function Parallel({
  insight,
  hovered,
  onHover,
}: {
  insight: Insight;
  hovered: number | null;
  onHover: (run: number | null) => void;
}) {
  const { axes, values, isIn, isBest, brushes } = insight;
  const frame = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const { width, height } = useSize(frame);
  const theme = useShownTheme();
  const pressed = useRef<{ x: number; y: number } | null>(null);
  const [drag, setDrag] = useState<Dragging | null>(null);
  const box: Box = useMemo(() => ({ width, height, top: 44, bottom: 56, left: 72, right: 72 }), [width, height]);
  const ys = useMemo(() => layLines(box, axes, values, isIn.length), [box, axes, values, isIn.length]);
  useEffect(() => {
    if (!canvas.current || width === 0) return;
    const paint = {
      out: cssColour('--line-strong'),
      in: cssColour('--faint'),
      best: cssColour('--accent'),
    };
    paintLines(canvas.current, box, ys, axes.length, { isIn, isBest }, paint);
  }, [box, ys, axes.length, isIn, isBest, theme, width]);

  const at = (event: { clientX: number; clientY: number }) => {
    const edge = frame.current!.getBoundingClientRect();
    return { x: event.clientX - edge.left, y: event.clientY - edge.top };
  };
  const axisNear = (x: number) => {
    const index = axes.findIndex((_, one) => Math.abs(axisX(box, one, axes.length) - x) <= REACH);
    return index < 0 ? null : index;
  };
  const finish = () => {
    if (!drag) return;
    const axis = axes[drag.axis]!;
    if (Math.abs(drag.from - drag.to) < CLICK_PX) insight.setBrush(axis.name, null);
    else insight.setBrush(axis.name, brushBetween(axis, box, drag.from, drag.to));
    setDrag(null);
  };
  return (
    <div
      ref={frame}
      className={css.parallel}
      role="group"
      aria-label={`Parallel coordinates of ${isIn.length} runs`}
      onPointerDown={(event) => {
        const { x, y } = at(event);
        pressed.current = { x, y };
        const axis = axisNear(x);
        if (
          event.button !== 0 ||
          axis === null ||
          y < box.top - 8 ||
          y > height - box.bottom + 8 ||
          (event.target as Element).closest('button')
        )
          return;
        event.currentTarget.setPointerCapture(event.pointerId);
        setDrag({ axis, from: y, to: y });
      }}
      onPointerMove={(event) => {
        const { x, y } = at(event);
        if (drag) setDrag({ ...drag, to: Math.max(box.top, Math.min(height - box.bottom, y)) });
        else onHover(axisNear(x) !== null ? null : nearestLine(box, ys, axes.length, isIn, x, y));
      }}
      onPointerUp={finish}
      onPointerCancel={() => setDrag(null)}
      onPointerLeave={() => onHover(null)}
      onClick={(event) => {
        const { x, y } = at(event);
        const isStill = pressed.current !== null && Math.hypot(x - pressed.current.x, y - pressed.current.y) < CLICK_PX;
        if (isStill && hovered !== null && !(event.target as Element).closest('button'))
          openRun(insight.names[hovered]!);
      }}
      style={{ cursor: hovered !== null ? 'pointer' : undefined }}
    >
      <canvas ref={canvas} style={{ width, height }} aria-hidden="true" />
      {hovered !== null && hovered < isIn.length && (
        <svg className={css.hovered} width={width} height={height} aria-hidden="true">
          <path d={linePath(box, ys, axes.length, hovered)} />
        </svg>
      )}
      {axes.map((axis, index) => (
        <AxisParts
          key={axis.name}
          axis={axis}
          index={index}
          x={axisX(box, index, axes.length)}
          box={box}
          insight={insight}
          brush={brushes.get(axis.name)}
          drag={drag?.axis === index ? drag : null}
        />
      ))}
    </div>
  );
}

function brushBetween(axis: Axis, box: Box, from: number, to: number): Brush | null {
  const share = (y: number) =>
    Math.max(0, Math.min(1, (box.height - box.bottom - y) / (box.height - box.bottom - box.top)));
  const [low, high] = [Math.min(share(from), share(to)), Math.max(share(from), share(to))];
  if (axis.kind !== 'category') return { low: numberAt(axis, low), high: numberAt(axis, high) };
  const values = axis.categories.filter(
    (_, at) => (at + 0.5) / axis.categories.length >= low && (at + 0.5) / axis.categories.length <= high,
  );
  return values.length ? { values } : null;
}

interface PartsProps {
  axis: Axis;
  index: number;
  x: number;
  box: Box;
  insight: Insight;
  brush: Brush | undefined;
  drag: Dragging | null;
}

function AxisParts({ axis, index, x, box, insight, brush, drag }: PartsProps) {
  const [top, bottom] = [box.top, box.height - box.bottom];
  const isTarget = axis.name === insight.target?.name;
  const ticks = ticksOf(axis);
  const band = drag
    ? [Math.min(drag.from, drag.to), Math.max(drag.from, drag.to)]
    : brush && 'low' in brush
      ? [shareY(box, clip(axis, brush.high)), shareY(box, clip(axis, brush.low))]
      : null;
  const toggle = (position: number) => {
    const value = axis.categories[position]!;
    const held = brush && 'values' in brush ? brush.values : [];
    const next = held.includes(value) ? held.filter((one) => one !== value) : [...held, value];
    insight.setBrush(axis.name, next.length ? { values: next } : null);
  };
  const missing = (which: 'none' | 'nan') =>
    insight.setBrush(axis.name, brush && 'missing' in brush && brush.missing === which ? null : { missing: which });
  return (
    <>
      <button
        type="button"
        className={names(css.axisName, isTarget && css.target)}
        style={{ left: x }}
        data-tip={`${axis.title}\nDrag on the axis to filter`}
        onClick={(event) => showMenu(event.currentTarget, axis.title, axisItems(axis, index, insight, brush))}
      >
        {axis.title}
        {isTarget && <span className={css.way}>{insight.target?.direction}</span>}
      </button>
      <span className={names(css.axis, isTarget && css.targetAxis)} style={{ left: x, top, height: bottom - top }} />
      {band && (
        <span className={css.band} style={{ left: x, top: band[0], height: Math.max(2, band[1]! - band[0]!) }} />
      )}
      {ticks.map((tick, position) =>
        axis.kind === 'category' ? (
          <button
            key={tick.text}
            type="button"
            className={names(
              css.tick,
              css.category,
              brush && 'values' in brush && brush.values.includes(axis.categories[position]!) && css.on,
            )}
            style={{ left: x, top: shareY(box, tick.share) }}
            aria-pressed={Boolean(brush && 'values' in brush && brush.values.includes(axis.categories[position]!))}
            onClick={() => toggle(position)}
          >
            {tick.text}
          </button>
        ) : (
          tick.share > -0.01 &&
          tick.share < 1.01 && (
            <span key={tick.text} className={css.tick} style={{ left: x, top: shareY(box, tick.share) }}>
              {tick.text}
            </span>
          )
        ),
      )}
      {axis.hasNone && (
        <button
          type="button"
          className={names(css.tick, css.missing, brush && 'missing' in brush && brush.missing === 'none' && css.on)}
          style={{ left: x, top: bottom + NONE_BELOW }}
          onClick={() => missing('none')}
        >
          none
        </button>
      )}
      {axis.hasNan && (
        <button
          type="button"
          className={names(css.tick, css.missing, brush && 'missing' in brush && brush.missing === 'nan' && css.on)}
          style={{ left: x, top: bottom + NAN_BELOW }}
          onClick={() => missing('nan')}
        >
          NaN
        </button>
      )}
    </>
  );
}

function clip(axis: Axis, value: number): number {
  const bounded = Math.max(axis.low, Math.min(axis.high, value));
  return axis.kind === 'log'
    ? Math.log(bounded / axis.low) / Math.log(axis.high / axis.low)
    : (bounded - axis.low) / (axis.high - axis.low);
}

/** What a drag does, and more, by keyboard. */
function axisItems(axis: Axis, index: number, insight: Insight, brush: Brush | undefined): MenuItem[] {
  const shown = insight.axes.filter((one) => one.name !== insight.target?.name).map((one) => one.name);
  const isTarget = axis.name === insight.target?.name;
  const swap = (other: number) => {
    const next = [...shown];
    [next[index], next[other]] = [next[other]!, next[index]!];
    insight.setShown(next);
  };
  const half = (low: number, high: number) =>
    insight.setBrush(axis.name, { low: numberAt(axis, low), high: numberAt(axis, high) });
  return [
    ...(axis.kind === 'category'
      ? axis.categories.slice(0, 12).map((value) => ({
          text: `only ${wordOf(value)}`,
          run: () => insight.setBrush(axis.name, { values: [value] }),
        }))
      : [
          { text: 'Only the upper half', run: () => half(0.5, 1) },
          { text: 'Only the lower half', run: () => half(0, 0.5) },
          { text: 'Only the lowest tenth of the axis', run: () => half(0, 0.1) },
        ]),
    {
      text: 'Let everything through',
      run: () => insight.setBrush(axis.name, null),
      disabled: brush ? null : 'Nothing is filtered on this axis',
    },
    ...(isTarget
      ? []
      : [
          {
            text: 'Move to the left',
            icon: 'left' as const,
            line: true,
            run: () => swap(index - 1),
            disabled: index === 0 ? 'It is the first' : null,
          },
          {
            text: 'Move to the right',
            icon: 'right' as const,
            run: () => swap(index + 1),
            disabled: index >= shown.length - 1 ? 'It is the last' : null,
          },
          {
            text: 'Hide this axis',
            icon: 'close' as const,
            run: () => insight.setShown(shown.filter((one) => one !== axis.name)),
          },
        ]),
  ];
}
