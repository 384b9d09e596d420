// What the pointer does in a chart: points at lines, picks what was saved along them, zooms and pans.
import type uPlot from 'uplot';
import type { Crosshair } from './crosshair';
import type { Drawn } from './line';
import type { Scene } from './paint';
import { type Scale, unshare } from './scale';

export interface Pick {
  id: string;
  /** Which of `line.saved`. */
  saved: number;
  event: MouseEvent;
}

type Span = [number, number];

/** Of each axis: what it is to show, all of it (null), or as before. */
export interface Zoom {
  x?: Span | null;
  y?: Span | null;
}

export interface PointerSaid {
  /** The line under the pointer. */
  onHot(id: string | null): void;
  onZoom(zoom: Zoom): void;
  /** What was saved along a line, picked by a click on it, or by the right button. */
  onPick(pick: Pick): void;
}

const REACH_PX = 32;
const PICK_PX = 11;
/** Nobody drags quite straight: a drag zooms both axes only where it is longer than this along either. */
const BOX_PX = 30;

export const DRAG = { x: true, y: true, uni: BOX_PX, setScale: false, dist: 5 };

export class Pointer {
  constructor(
    private readonly plot: uPlot,
    private readonly scene: Scene,
    private readonly link: Crosshair,
    private readonly said: PointerSaid,
  ) {
    const { over } = plot;
    over.addEventListener('pointermove', (event) => {
      if (event.buttons === 0) this.point(event.offsetX, event.offsetY);
    });
    over.addEventListener('pointerleave', () => {
      link.move(null, scene);
      said.onHot(null);
    });
    let down = { x: 0, y: 0 };
    over.addEventListener('pointerdown', ({ clientX: x, clientY: y }) => (down = { x, y }));
    const pick = (event: MouseEvent) => {
      // A click that ends a drag is none.
      if (Math.hypot(event.clientX - down.x, event.clientY - down.y) > 4) return;
      const found = this.point(event.offsetX, event.offsetY);
      if (!found) return;
      event.preventDefault();
      said.onPick({ ...found, event });
    };
    over.addEventListener('click', pick);
    over.addEventListener('contextmenu', pick);
    over.addEventListener('dblclick', () => said.onZoom({ x: null, y: null }));
    over.addEventListener('mousedown', (event) => this.pan(event), true);
    over.addEventListener('wheel', (event) => this.wheel(event), { passive: false });
  }

  /** What was dragged over: a direction that was not dragged along is selected from edge to edge. */
  selected(): void {
    const { plot } = this;
    const { left, top, width, height } = plot.select;
    if (width < 4 || height < 4) return;
    plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    const isAlongX = width < plot.over.clientWidth;
    const isAlongY = height < plot.over.clientHeight;
    this.said.onZoom({
      ...(isAlongX && { x: [plot.posToVal(left, 'x'), plot.posToVal(left + width, 'x')] }),
      ...(isAlongY && { y: [plot.posToVal(top + height, 'y'), plot.posToVal(top, 'y')] }),
    });
  }

  /** Points at the nearest line; what was saved along it, where that is near. */
  private point(left: number, top: number): { id: string; saved: number } | null {
    const { plot, scene } = this;
    const x = plot.posToVal(left, 'x');
    let best: Drawn | null = null;
    let distance = REACH_PX;
    for (const drawn of scene.drawn) {
      if (drawn.line.isBackground) continue;
      const index = drawn.nearest(x);
      if (index < 0) continue;
      const y = drawn.line.curve.smoothed(scene.look.smooth)[index]!;
      if (!Number.isFinite(y)) continue;
      const dx = plot.valToPos(drawn.line.curve.x[index]!, 'x') - left;
      const away = Math.hypot(plot.valToPos(y, 'y') - top, Math.max(0, Math.abs(dx) - 12));
      if (away < distance) {
        distance = away;
        best = drawn;
      }
    }
    this.said.onHot(best?.line.id ?? null);
    this.link.move(x, scene);
    const saved = best ? this.savedNear(best, left, top) : -1;
    plot.over.style.cursor = saved < 0 ? '' : 'pointer';
    return best && saved >= 0 ? { id: best.line.id, saved } : null;
  }

  private savedNear(drawn: Drawn, left: number, top: number): number {
    const { smooth, logY } = this.scene.look;
    let best = -1;
    let distance = PICK_PX;
    drawn.line.saved?.forEach((x, at) => {
      const y = x === null ? null : drawn.heightAt(x, smooth, logY);
      if (x === null || y === null) return;
      const away = Math.hypot(this.plot.valToPos(x, 'x') - left, this.plot.valToPos(y, 'y') - top);
      if (away >= distance) return;
      distance = away;
      best = at;
    });
    return best;
  }

  /** Along x with all charts; along y, too, where this one is zoomed in it. */
  private pan(event: MouseEvent): void {
    if (!event.shiftKey || event.button !== 0) return;
    event.stopPropagation();
    event.preventDefault();
    const { over } = this.plot;
    const [x, y] = [this.x(), this.scene.look.zoomY ? this.y() : null];
    const move = ({ clientX, clientY }: MouseEvent) => {
      const right = (clientX - event.clientX) / over.clientWidth;
      const down = (clientY - event.clientY) / over.clientHeight;
      this.said.onZoom({ x: part(x, -right, 1 - right), ...(y && { y: part(y, down, 1 + down) }) });
    };
    const end = () => {
      removeEventListener('mousemove', move);
      removeEventListener('mouseup', end);
    };
    addEventListener('mousemove', move);
    addEventListener('mouseup', end);
  }

  /** Pinching, or the wheel with Ctrl, zooms about the pointer; sideways pans what is zoomed. */
  private wheel(event: WheelEvent): void {
    const width = this.plot.over.clientWidth;
    if (event.ctrlKey) {
      event.preventDefault();
      const at = event.offsetX / width;
      const factor = Math.exp(Math.max(-1, Math.min(1, event.deltaY * 0.01)));
      this.said.onZoom({ x: part(this.x(), at - at * factor, at + (1 - at) * factor) });
    } else if (this.scene.look.zoom && Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
      event.preventDefault();
      const by = event.deltaX / width;
      this.said.onZoom({ x: part(this.x(), by, 1 + by) });
    }
  }

  private x(): Scale {
    const { x0, x1, logX } = this.scene.window;
    return { from: x0, to: x1, isLog: logX };
  }

  private y(): Scale {
    const { yRange, look } = this.scene;
    return { from: yRange[0], to: yRange[1], isLog: look.logY };
  }
}

const part = (scale: Scale, from: number, to: number): Span => [unshare(scale, from), unshare(scale, to)];
