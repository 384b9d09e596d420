// Draws the lines of a chart into the canvas that uPlot has drawn axes and grid on.
import type uPlot from 'uplot';
import type { XKind } from './axis';
import { type Drawn, trace, traceArea, traceBand } from './line';
import { pixel, rasterBand, rasterLine } from './raster';
import type { Window } from './resample';
import { type Scale, share } from './scale';

export interface Look {
  xKind: XKind;
  logX: boolean;
  logY: boolean;
  smooth: number;
  band: boolean;
  /** Of x, which all charts share. */
  zoom: readonly [number, number] | null;
  /** Of y, which is the chart's own. */
  zoomY: readonly [number, number] | null;
}

export interface Ink {
  text: string;
  grid: string;
  bad: string;
  panel: string;
  faded: string;
}

/** What is to be drawn. */
export interface Scene {
  drawn: Drawn[];
  hot: string | null;
  window: Window;
  yRange: [number, number];
  look: Look;
  ink: Ink;
}

/** Above this many lines, and as many points, they are spans of pixels instead of paths. */
const MOST_LINES = 24;
const MOST_BANDS = 12;
const MOST_BROKEN = 30;
const DIMMED = 0.27;
const BAND_OPACITY = 0.15;

export class Painter {
  private scene!: Scene;
  private picture: { image: ImageData; pixels: Uint32Array } | null = null;
  private readonly layer = document.createElement('canvas');
  private isLayerFresh = false;

  /** The lines are others now, or elsewhere. */
  forget(): void {
    this.isLayerFresh = false;
  }

  /** All lines are drawn once, beside the screen; pointing at one only dims that picture and draws the one on it. */
  paint({ ctx, bbox }: uPlot, scene: Scene): void {
    this.scene = scene;
    const hot = scene.drawn.find((one) => one.line.id === scene.hot);
    const base = this.base(bbox);
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    ctx.globalAlpha = hot ? DIMMED : 1;
    ctx.drawImage(base, bbox.left, bbox.top);
    if (hot) {
      const { toX, toY } = this.scales(bbox.left, bbox.top, bbox);
      this.band(ctx, hot, 0.18, toX, toY);
      this.stroke(ctx, hot, 2.4, 1, toX, toY);
      this.marks(ctx, hot, toX, toY);
      this.saved(ctx, hot, toX, toY);
    }
    ctx.restore();
  }

  private saved(ctx: CanvasRenderingContext2D, hot: Drawn, toX: (x: number) => number, toY: (y: number) => number) {
    const r = 5 * devicePixelRatio;
    ctx.fillStyle = hot.line.colour;
    ctx.strokeStyle = this.scene.ink.panel;
    ctx.lineWidth = devicePixelRatio;
    ctx.globalAlpha = 1;
    for (const x of hot.line.saved ?? []) {
      const y = x === null ? null : hot.heightAt(x, this.scene.look.smooth, this.scene.look.logY);
      if (x === null || y === null) continue;
      const [px, py] = [toX(x), toY(y)];
      ctx.beginPath();
      ctx.moveTo(px, py - r);
      ctx.lineTo(px + r, py + r);
      ctx.lineTo(px - r, py + r);
      ctx.closePath();
      ctx.fill();
      ctx.stroke();
    }
  }

  private scales(left: number, top: number, { width, height }: uPlot.BBox) {
    const { look, window, yRange } = this.scene;
    const xs: Scale = { from: window.x0, to: window.x1, isLog: look.logX };
    const ys: Scale = { from: yRange[0], to: yRange[1], isLog: look.logY && yRange[0] > 0 };
    return {
      toX: (x: number) => left + share(xs, x) * width,
      // The edge of a band may be what has no logarithm: it is below all that is seen.
      toY: (y: number) => top + (ys.isLog && y <= 0 ? 2 : 1 - share(ys, y)) * height,
    };
  }

  private base(bbox: uPlot.BBox): HTMLCanvasElement {
    const width = Math.max(1, Math.round(bbox.width));
    const height = Math.max(1, Math.round(bbox.height));
    const { layer } = this;
    if (layer.width === width && layer.height === height && this.isLayerFresh) return layer;
    layer.width = width;
    layer.height = height;
    this.isLayerFresh = true;
    const ctx = layer.getContext('2d')!;
    const { toX, toY } = this.scales(0, 0, bbox);
    const { columns } = this.scene.window;
    const work = this.scene.drawn.reduce((sum, one) => sum + Math.min(one.last - one.first, 2 * columns), 0);
    // Round joins cost more than the lines, and are not seen at this width.
    ctx.lineJoin = 'bevel';
    if (this.scene.drawn.length > MOST_LINES && work > MOST_LINES * 2 * columns) this.raster(ctx, width, height, toY);
    else {
      const bands = this.scene.drawn.length <= MOST_BANDS ? this.scene.drawn : [];
      this.rasterBands(
        ctx,
        width,
        height,
        toY,
        bands.filter((one) => !one.isExact && one.band.length > 0),
      );
      for (const one of bands) if (one.isExact) this.band(ctx, one, BAND_OPACITY, toX, toY);
      for (const one of this.scene.drawn)
        this.stroke(ctx, one, one.line.isBackground ? 1 : 1.5, one.line.isBackground ? 0.7 : 1, toX, toY);
    }
    for (const one of this.scene.drawn) this.marks(ctx, one, toX, toY);
    return layer;
  }

  private stroke(
    ctx: CanvasRenderingContext2D,
    drawn: Drawn,
    width: number,
    opacity: number,
    toX: (x: number) => number,
    toY: (y: number) => number,
  ): void {
    ctx.globalAlpha = opacity;
    ctx.strokeStyle = drawn.line.colour;
    ctx.lineWidth = width * devicePixelRatio;
    ctx.setLineDash(drawn.line.dash.map((one) => one * devicePixelRatio));
    ctx.beginPath();
    trace(ctx, drawn, this.scene.window, this.scene.look.smooth, toX, toY);
    ctx.stroke();
    ctx.setLineDash([]);
  }

  private band(
    ctx: CanvasRenderingContext2D,
    drawn: Drawn,
    opacity: number,
    toX: (x: number) => number,
    toY: (y: number) => number,
  ): void {
    if (drawn.band.length === 0) return;
    ctx.beginPath();
    if (drawn.isExact && drawn.line.area) {
      ctx.globalAlpha = opacity;
      ctx.fillStyle = drawn.line.colour;
      traceArea(ctx, drawn, this.scene.window, this.scene.look.smooth, toX, toY);
      ctx.fill();
    } else if (drawn.isExact) {
      ctx.strokeStyle = drawn.line.colour;
      ctx.lineWidth = devicePixelRatio;
      ctx.globalAlpha = opacity * 1.6;
      trace(ctx, drawn, this.scene.window, 0, toX, toY);
      ctx.stroke();
    } else {
      ctx.globalAlpha = opacity;
      ctx.fillStyle = drawn.line.colour;
      traceBand(ctx, drawn.band, this.scene.window, toX, toY);
      ctx.fill();
    }
  }

  private marks(
    ctx: CanvasRenderingContext2D,
    one: Drawn,
    toX: (x: number) => number,
    toY: (y: number) => number,
  ): void {
    const { curve, colour, isOpen, isBackground } = one.line;
    if (isBackground) return;
    const dpr = devicePixelRatio;
    const y = curve.smoothed(this.scene.look.smooth);
    ctx.globalAlpha = 1;
    for (const at of curve.broken.slice(0, MOST_BROKEN)) {
      // Where it stopped being a number, at the height it had last.
      const before = at > 0 ? y[at - 1]! : NaN;
      const px = toX(curve.x[at]!);
      const py =
        Number.isFinite(before) && (!this.scene.look.logY || before > 0)
          ? toY(before)
          : toY(this.scene.yRange[0]) - 8 * dpr;
      const r = 4 * dpr;
      ctx.strokeStyle = this.scene.ink.bad;
      ctx.lineWidth = 2 * dpr;
      ctx.beginPath();
      ctx.moveTo(px - r, py - r);
      ctx.lineTo(px + r, py + r);
      ctx.moveTo(px + r, py - r);
      ctx.lineTo(px - r, py + r);
      ctx.stroke();
    }
    const last = curve.length - 1;
    if (isOpen && last >= 0 && Number.isFinite(y[last]) && (!this.scene.look.logY || y[last]! > 0)) {
      ctx.fillStyle = colour;
      ctx.beginPath();
      ctx.arc(toX(curve.x[last]!), toY(y[last]!), 3 * dpr, 0, 7);
      ctx.fill();
      ctx.globalAlpha = 0.3;
      ctx.beginPath();
      ctx.arc(toX(curve.x[last]!), toY(y[last]!), 6 * dpr, 0, 7);
      ctx.fill();
    }
  }

  private raster(ctx: CanvasRenderingContext2D, width: number, height: number, toRow: (value: number) => number): void {
    const { image, pixels } = this.blank(width, height);
    const thickness = Math.max(1, Math.round(devicePixelRatio));
    for (const { columns, line } of this.scene.drawn)
      rasterLine(pixels, width, height, columns, toRow, pixel(line.colour, 0.95), thickness);
    ctx.putImageData(image, 0, 0);
  }

  private rasterBands(
    ctx: CanvasRenderingContext2D,
    width: number,
    height: number,
    toRow: (value: number) => number,
    bands: readonly Drawn[],
  ): void {
    if (bands.length === 0) return;
    const { image, pixels } = this.blank(width, height);
    for (const { band, line } of bands)
      rasterBand(pixels, width, height, band, toRow, pixel(line.colour), BAND_OPACITY);
    ctx.putImageData(image, 0, 0);
  }

  private blank(width: number, height: number): { image: ImageData; pixels: Uint32Array } {
    if (this.picture?.image.width !== width || this.picture.image.height !== height) {
      const image = new ImageData(width, height);
      this.picture = { image, pixels: new Uint32Array(image.data.buffer) };
    }
    this.picture.pixels.fill(0);
    return this.picture;
  }
}
