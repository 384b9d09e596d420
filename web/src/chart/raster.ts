// Many lines at once: each column of a line is a vertical span of pixels, written into one picture. No anti-aliasing,
// which nobody sees among a hundred noisy lines, and twenty times faster than paths.
import { GAP } from './resample';

/** '#rrggbb' or 'rgb(r, g, b)' as a pixel of ImageData (little-endian). */
export function pixel(colour: string, opacity = 1): number {
  const hex = /^#([0-9a-f]{6})$/i.exec(colour);
  const [r, g, b] = hex
    ? [0, 2, 4].map((at) => parseInt(hex[1]!.slice(at, at + 2), 16))
    : (colour.match(/[\d.]+/g) ?? ['128', '128', '128']).slice(0, 3).map(Number);
  return (((Math.round(opacity * 255) << 24) | (b! << 16) | (g! << 8) | r!) >>> 0) >>> 0;
}

/** Writes one line. `out` is what resample made; `toPixel` brings a value to its row (0 is the top). */
export function rasterLine(
  pixels: Uint32Array,
  width: number,
  height: number,
  out: Float64Array,
  toPixel: (value: number) => number,
  colour: number,
  thickness: number,
): void {
  const columns = out.length / 2;
  const scale = width / columns;
  const half = (thickness - 1) >> 1;
  let lastColumn = -1;
  let lastRow = 0;
  const span = (column: number, a: number, b: number) => {
    const top = Math.max(0, Math.floor(Math.min(a, b)) - half);
    const bottom = Math.min(height - 1, Math.floor(Math.max(a, b)) + thickness - 1 - half);
    const left = Math.floor(column * scale);
    const right = Math.min(width, Math.max(left + 1, Math.floor((column + 1) * scale)));
    for (let y = top; y <= bottom; y++) for (let x = left; x < right; x++) pixels[y * width + x] = colour;
  };
  for (let c = 0; c < columns; c++) {
    const first = out[2 * c]!;
    if (first !== first) continue;
    if (first === GAP) {
      lastColumn = -1;
      continue;
    }
    const a = toPixel(first);
    const b = toPixel(out[2 * c + 1]!);
    // From where the line comes into this column.
    let from = a;
    if (lastColumn >= 0) {
      // Columns without a point lie on the straight way; the way is drawn to where this column begins.
      const slope = (a - lastRow) / (c - lastColumn);
      for (let k = lastColumn + 1; k < c; k++)
        span(k, lastRow + slope * (k - lastColumn - 1), lastRow + slope * (k - lastColumn));
      from = lastRow + slope * (c - lastColumn - 1);
    }
    span(c, Math.min(a, b, from), Math.max(a, b, from));
    lastColumn = c;
    lastRow = b;
  }
}

/** Lays the area between least and greatest of each column over what is there. */
export function rasterBand(
  pixels: Uint32Array,
  width: number,
  height: number,
  out: Float64Array,
  toPixel: (value: number) => number,
  colour: number,
  opacity: number,
): void {
  const columns = out.length / 2;
  const scale = width / columns;
  let before: [number, number] | null = null;
  for (let c = 0; c < columns; c++) {
    const first = out[2 * c]!;
    if (first !== first) continue;
    if (first === GAP) {
      before = null;
      continue;
    }
    const [a, b] = [toPixel(first), toPixel(out[2 * c + 1]!)];
    const [top, bottom] = a < b ? [a, b] : [b, a];
    // A column reaches to the one before it, so that a steep band has no steps of air.
    const from = Math.max(0, Math.floor(before ? Math.min(top, before[1]) : top));
    const to = Math.min(height - 1, Math.ceil(before ? Math.max(bottom, before[0]) : bottom));
    const left = Math.floor(c * scale);
    const right = Math.min(width, Math.max(left + 1, Math.floor((c + 1) * scale)));
    for (let y = from; y <= to; y++)
      for (let x = left; x < right; x++) pixels[y * width + x] = over(pixels[y * width + x]!, colour, opacity);
    before = [top, bottom];
  }
}

/** One colour over another, both as pixels; the lower one may be translucent, too. */
function over(below: number, colour: number, opacity: number): number {
  const under = (below >>> 24) / 255;
  const alpha = opacity + under * (1 - opacity);
  const share = opacity / alpha;
  const mix = (shift: number) => {
    const old = (below >>> shift) & 255;
    return Math.round(old + (((colour >>> shift) & 255) - old) * share) << shift;
  };
  return ((Math.round(alpha * 255) << 24) | mix(16) | mix(8) | mix(0)) >>> 0;
}
