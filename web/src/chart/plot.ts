// One chart on the screen: uPlot has its axes and its selection by dragging, the lines are ours.
import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import { COUNT_STEPS, DURATION_STEPS, clockTick, durationTick, logTicks, numberTick } from './axis';
import type { Crosshair } from './crosshair';
import { Drawn, type Line, extentOf } from './line';
import { type Ink, type Look, Painter, type Scene } from './paint';
import { DRAG, Pointer, type PointerSaid } from './pointer';
import type { Window } from './resample';
import css from './Chart.module.css';
import { type Scale, airy, roundEnd } from './scale';
import { leaveTurn, takeTurn } from './turns';

export type { Ink, Look } from './paint';
export type { Pick, Zoom } from './pointer';

export interface Reading {
  id: string;
  index: number;
}

export interface Said extends PointerSaid {
  /** What is to be read at the crosshair. */
  onRead(reading: Reading | null): void;
  /** The window was laid out anew: what lies over the chart moves. */
  onLaid(laid: Laid): void;
}

export interface Laid {
  left: number;
  width: number;
  top: number;
  height: number;
  x: Scale;
}

export class Plot implements Scene {
  private plot: uPlot | null = null;
  private pointer: Pointer | null = null;
  drawn: Drawn[] = [];
  look: Look;
  hot: string | null = null;
  window: Window = { x0: 0, x1: 1, columns: 1, logX: false, logY: false };
  yRange: [number, number] = [0, 1];
  private readonly cross = document.createElement('div');
  private readonly dot = document.createElement('div');
  private readonly painter = new Painter();
  private readonly leave: () => void;
  private size = { width: 0, height: 0 };
  ink: Ink;

  constructor(
    private readonly root: HTMLElement,
    look: Look,
    ink: Ink,
    private readonly link: Crosshair,
    private readonly said: Said,
  ) {
    this.look = look;
    this.ink = ink;
    this.cross.className = css.cross ?? '';
    this.dot.className = css.dot ?? '';
    this.leave = link.follow(() => this.follow());
  }

  destroy(): void {
    this.leave();
    leaveTurn(this.refresh);
    this.plot?.destroy();
    this.plot = null;
  }

  resize(width: number, height: number): void {
    if (width === this.size.width && height === this.size.height) return;
    this.size = { width, height };
    if (this.plot) {
      this.plot.setSize(this.size);
      this.refresh();
    } else this.make();
  }

  set(lines: readonly Line[], look: Look, ink: Ink): void {
    const before = this.look;
    const isOther =
      look.xKind !== before.xKind || look.logX !== before.logX || look.logY !== before.logY || ink !== this.ink;
    this.look = look;
    this.ink = ink;
    const held = new Map(this.drawn.map((one) => [one.line.id, one]));
    this.drawn = lines.map((line) => {
      const one = held.get(line.id) ?? new Drawn(line);
      one.line = line;
      return one;
    });
    if (isOther) this.make();
    else if (look.smooth !== before.smooth) takeTurn(this.refresh);
    else this.refresh();
  }

  setHot(id: string | null): void {
    if (id === this.hot) return;
    this.hot = id;
    this.plot?.redraw(false);
    this.follow();
  }

  /** As a picture, with a title, on the panel's colour. */
  async png(title: string): Promise<Blob | null> {
    const from = this.plot?.ctx.canvas;
    if (!from) return null;
    const canvas = document.createElement('canvas');
    const bar = Math.round(28 * devicePixelRatio);
    canvas.width = from.width;
    canvas.height = from.height + bar;
    const context = canvas.getContext('2d')!;
    context.fillStyle = this.ink.panel;
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.fillStyle = this.ink.text;
    context.font = `600 ${13 * devicePixelRatio}px ${getComputedStyle(this.root).fontFamily}`;
    context.fillText(title, 10 * devicePixelRatio, 19 * devicePixelRatio);
    context.drawImage(from, 0, bar);
    return new Promise((done) => canvas.toBlob(done, 'image/png'));
  }

  private make(): void {
    this.plot?.destroy();
    this.plot = null;
    if (this.size.width < 40) return;
    const { xKind, logX, logY } = this.look;
    // What was shown before may have no logarithm.
    this.yRange = airy(NaN, NaN, logY);
    this.window = { ...this.window, x0: logX ? 1 : 0, x1: logX ? 10 : 1, logX, logY };
    const axis = {
      stroke: this.ink.text,
      font: `11px ${getComputedStyle(this.root).fontFamily}`,
      grid: { stroke: this.ink.grid, width: 1 },
      ticks: { show: false },
      border: { show: false },
      gap: 4,
    };
    const tick = xKind === 'duration' ? durationTick : xKind === 'clock' ? clockTick : null;
    const incrs = xKind === 'duration' ? DURATION_STEPS : xKind === 'count' && !logX ? COUNT_STEPS : null;
    const xValues = {
      ...(incrs && { incrs }),
      values: (_: uPlot, at: number[], __: number, ___: number, step: number) =>
        tick ? at.map((v) => tick(v, step)) : this.ticks(at, step, logX, [this.window.x0, this.window.x1]),
    };
    this.plot = new uPlot(
      {
        ...this.size,
        padding: [10, 20, 0, 0],
        legend: { show: false },
        scales: {
          x: { time: xKind === 'clock', distr: logX ? 3 : 1, range: () => [this.window.x0, this.window.x1] },
          y: { distr: logY ? 3 : 1, range: () => this.yRange },
        },
        axes: [
          { ...axis, size: 24, space: 64, ...xValues },
          {
            ...axis,
            size: (_, values) => 14 + 6.3 * Math.max(2, ...(values ?? []).map((text) => text?.length ?? 0)),
            space: 30,
            values: (_: uPlot, at: number[], __: number, ___: number, step: number) =>
              this.ticks(at, step, logY, this.yRange),
          },
        ],
        series: [{}, { paths: () => null, points: { show: false } }],
        cursor: {
          x: false,
          y: false,
          points: { show: false },
          drag: DRAG,
          bind: { dblclick: () => null },
        },
        hooks: {
          draw: [(plot) => this.painter.paint(plot, this)],
          setSelect: [() => this.pointer?.selected()],
        },
      },
      [
        [0, 1],
        [0, 1],
      ],
      this.root,
    );
    this.plot.over.append(this.cross, this.dot);
    this.pointer = new Pointer(this.plot, this, this.link, this.said);
    this.refresh();
  }

  private ticks(at: number[], step: number, isLog: boolean, range: [number, number]): (string | null)[] {
    return isLog ? logTicks(at, Math.log10(range[1] / range[0])) : at.map((value) => numberTick(value, step));
  }

  private readonly refresh = (): void => {
    const { plot, look } = this;
    leaveTurn(this.refresh);
    if (!plot) return;
    this.painter.forget();
    const [x0, x1] = this.xRange();
    const columns = Math.max(1, Math.round(plot.bbox.width / devicePixelRatio));
    this.window = { x0, x1, columns, logX: look.logX, logY: look.logY };
    const range: [number, number] = [Infinity, -Infinity];
    for (const drawn of this.drawn) {
      drawn.prepare(drawn.line, this.window, look.smooth, look.band && !drawn.line.isBackground);
      drawn.widen(range, look.smooth, look.logY);
    }
    const { zoomY } = look;
    const isZoomed = zoomY && (!look.logY || zoomY[0] > 0);
    this.yRange = isZoomed ? [zoomY[0], zoomY[1]] : airy(range[0], range[1], look.logY && range[0] > 0);
    // At once, not in uPlot's microtask: what is reported below is where the axes then are.
    plot.batch(() =>
      plot.setData([
        [x0, x1],
        [this.yRange[0], this.yRange[1]],
      ]),
    );
    // The y axis may have become wider: then there are fewer columns.
    if (Math.round(plot.bbox.width / devicePixelRatio) !== columns) {
      this.window = { ...this.window, columns: Math.round(plot.bbox.width / devicePixelRatio) };
      for (const drawn of this.drawn)
        drawn.prepare(drawn.line, this.window, look.smooth, look.band && !drawn.line.isBackground);
      this.painter.forget();
      plot.redraw(false);
    }
    const dpr = devicePixelRatio;
    this.said.onLaid({
      left: plot.bbox.left / dpr,
      width: plot.bbox.width / dpr,
      top: plot.bbox.top / dpr,
      height: plot.bbox.height / dpr,
      x: { from: x0, to: x1, isLog: look.logX },
    });
    this.follow();
  };

  private xRange(): [number, number] {
    const { zoom, logX } = this.look;
    if (zoom && (!logX || zoom[0] > 0)) return [zoom[0], zoom[1]];
    const [from, to] = extentOf(this.drawn, logX);
    if (!(from <= to)) return logX ? [1, 10] : [0, 1];
    if (from === to) return logX ? [from / 2, to * 2] : [from - 0.5, to + 0.5];
    return [from, logX ? to : roundEnd(from, to)];
  }

  /** Brings the crosshair, and what is read at it, to where the linked charts are. */
  private follow(): void {
    const { plot, cross, dot } = this;
    if (!plot) return;
    const { x } = this.link;
    const isIn = x !== null && x >= this.window.x0 && x <= this.window.x1;
    cross.style.display = isIn ? 'block' : 'none';
    if (isIn) cross.style.transform = `translateX(${plot.valToPos(x, 'x')}px)`;
    const hot = x === null ? undefined : this.drawn.find((one) => one.line.id === this.hot);
    const index = hot ? hot.nearest(x!) : -1;
    if (!hot || index < 0) {
      dot.style.display = 'none';
      this.said.onRead(null);
      return;
    }
    const y = hot.line.curve.smoothed(this.look.smooth)[index]!;
    const isSeen = y >= this.yRange[0] && y <= this.yRange[1];
    dot.style.display = isSeen ? 'block' : 'none';
    if (isSeen) {
      dot.style.transform = `translate(${plot.valToPos(hot.line.curve.x[index]!, 'x')}px, ${plot.valToPos(y, 'y')}px)`;
      dot.style.background = hot.line.colour;
    }
    this.said.onRead({ id: hot.line.id, index });
  }
}
