// Runs as lines over parallel axes: where they go, how they are painted, and which one is near the pointer.
import type { Value } from '../../api/types';
import { type Axis, place } from './axes';

export interface Box {
  width: number;
  height: number;
  /** Of the axes themselves, between which values stand. */
  top: number;
  bottom: number;
  left: number;
  right: number;
}

/** Heights below the axes of the ticks for runs that have none, or NaN. */
export const NONE_BELOW = 20;
export const NAN_BELOW = 38;

export function axisX(box: Box, index: number, axes: number): number {
  const width = box.width - box.left - box.right;
  return axes < 2 ? box.left + width / 2 : box.left + (index / (axes - 1)) * width;
}

export function shareY(box: Box, share: number): number {
  return box.height - box.bottom - share * (box.height - box.bottom - box.top);
}

/** y of every run on every axis, run by run; NaN where an axis has no place for a value. */
export function layLines(
  box: Box,
  axes: readonly Axis[],
  values: ReadonlyMap<string, readonly Value[]>,
  runs: number,
): Float32Array {
  const ys = new Float32Array(runs * axes.length);
  axes.forEach((axis, index) => {
    const column = values.get(axis.name) ?? [];
    for (let run = 0; run < runs; run++) {
      const at = place(axis, column[run]);
      ys[run * axes.length + index] =
        at === null
          ? NaN
          : at === 'none'
            ? box.height - box.bottom + NONE_BELOW
            : at === 'nan'
              ? box.height - box.bottom + NAN_BELOW
              : shareY(box, at);
    }
  });
  return ys;
}

/** Paths for one kind of line: more take longer to paint than people see a difference. */
const MOST_PATHS = 500;

export interface Paint {
  out: string;
  in: string;
  best: string;
}

/** Grey for what is filtered out, faint for the rest, full colour for the best. */
export function paintLines(
  canvas: HTMLCanvasElement,
  box: Box,
  ys: Float32Array,
  axes: number,
  groups: { isIn: readonly boolean[]; isBest: readonly boolean[] },
  paint: Paint,
): void {
  const context = canvas.getContext('2d');
  if (!context) return;
  const scale = devicePixelRatio || 1;
  if (canvas.width !== Math.round(box.width * scale) || canvas.height !== Math.round(box.height * scale)) {
    canvas.width = Math.round(box.width * scale);
    canvas.height = Math.round(box.height * scale);
  }
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, box.width, box.height);
  context.lineJoin = 'round';
  const runs = groups.isIn.length;
  const shown = groups.isIn.reduce((sum, isIn) => sum + (isIn ? 1 : 0), 0);
  const xs = Array.from({ length: axes }, (_, index) => axisX(box, index, axes));
  const stroke = (which: (run: number) => boolean, colour: string, alpha: number, width: number) => {
    context.strokeStyle = colour;
    context.globalAlpha = alpha;
    context.lineWidth = width;
    context.beginPath();
    // Lines of one path do not darken each other: where many runs go is seen only between paths.
    const atOnce = Math.ceil(runs / MOST_PATHS);
    let held = 0;
    for (let run = 0; run < runs; run++) {
      if (!which(run)) continue;
      if (++held % atOnce === 0) {
        context.stroke();
        context.beginPath();
      }
      let isDown = false;
      for (let index = 0; index < axes; index++) {
        const y = ys[run * axes + index]!;
        if (Number.isNaN(y)) isDown = false;
        else if (isDown) context.lineTo(xs[index]!, y);
        else context.moveTo(xs[index]!, y);
        if (!Number.isNaN(y)) isDown = true;
      }
    }
    context.stroke();
  };
  const crowd = (count: number) => Math.max(0.14, Math.min(0.85, 12 / Math.sqrt(Math.max(1, count))));
  stroke((run) => !groups.isIn[run], paint.out, crowd(runs) * 0.45, 1);
  stroke((run) => groups.isIn[run]! && !groups.isBest[run], paint.in, crowd(shown) * 0.75, 1);
  stroke((run) => groups.isBest[run]!, paint.best, 0.95, 1.75);
  context.globalAlpha = 1;
}

/** One run's line, for SVG: what the pointer is on is drawn over the others, which are not painted again for it. */
export function linePath(box: Box, ys: Float32Array, axes: number, run: number): string {
  let path = '';
  let isDown = false;
  for (let index = 0; index < axes; index++) {
    const y = ys[run * axes + index]!;
    if (!Number.isNaN(y)) path += `${isDown ? 'L' : 'M'}${axisX(box, index, axes).toFixed(1)} ${y.toFixed(1)}`;
    isDown = !Number.isNaN(y);
  }
  return path;
}

/** The run whose line is nearest to a point, of those that pass; null where none is within 12 pixels. */
export function nearestLine(
  box: Box,
  ys: Float32Array,
  axes: number,
  isIn: readonly boolean[],
  x: number,
  y: number,
): number | null {
  if (axes < 2) return null;
  const gap = (box.width - box.left - box.right) / (axes - 1);
  const at = Math.max(0, Math.min(axes - 2, Math.floor((x - box.left) / gap)));
  const share = Math.max(0, Math.min(1, (x - box.left) / gap - at));
  let best: number | null = null;
  let distance = 12;
  for (let run = 0; run < isIn.length; run++) {
    if (!isIn[run]) continue;
    const [from, to] = [ys[run * axes + at]!, ys[run * axes + at + 1]!];
    const off = Math.abs(from + share * (to - from) - y);
    if (off < distance) [best, distance] = [run, off];
  }
  return best;
}
