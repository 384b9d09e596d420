import { describe, expect, test } from 'vitest';
import { pixel, rasterBand, rasterLine } from './raster';
import { GAP } from './resample';

const WIDTH = 6;
const HEIGHT = 8;
const RED = pixel('#ff0000');

/** The rows of each column that are not empty, top first. */
function seen(draw: (pixels: Uint32Array) => void): number[][] {
  const pixels = new Uint32Array(WIDTH * HEIGHT);
  draw(pixels);
  return Array.from({ length: WIDTH }, (_, x) =>
    Array.from({ length: HEIGHT }, (_, y) => y).filter((y) => pixels[y * WIDTH + x] !== 0),
  );
}
const line = (...columns: [number, number][]) =>
  seen((pixels) => rasterLine(pixels, WIDTH, HEIGHT, Float64Array.from(columns.flat()), (v) => v, RED, 1));

describe('many lines', () => {
  test('a colour is the same pixel however it is spelled', () => {
    expect(pixel('#0a141e')).toBe(pixel('rgb(10, 20, 30)'));
    expect(pixel('rgb(10, 20, 30)')).toBe(0xff1e140a);
  });

  test('a spike is drawn over all its height', () => {
    const columns = line([4, 4], [4, 4], [0, 7], [4, 4], [4, 4], [4, 4]);
    expect(columns[2]).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    expect(columns[1]).toEqual([4]);
  });

  test('steps are joined, so that no line falls apart', () => {
    const columns = line([0, 0], [3, 3], [6, 6], [6, 6], [6, 6], [6, 6]);
    for (let x = 1; x < WIDTH; x++) {
      const near = columns[x]!.some((y) => columns[x - 1]!.some((other) => Math.abs(other - y) <= 1));
      expect(near).toBe(true);
    }
  });

  test('columns without a point are bridged, a gap is not', () => {
    const none: [number, number] = [NaN, NaN];
    expect(line([2, 2], none, none, [2, 2], [2, 2], [2, 2]).map((rows) => rows.length)).toEqual([1, 1, 1, 1, 1, 1]);
    expect(line([2, 2], none, [GAP, GAP], none, [2, 2], [2, 2]).map((rows) => rows.length)).toEqual([1, 0, 0, 0, 1, 1]);
  });

  test('what lies outside of the picture is cut off', () => {
    expect(line([-9, -9], [-9, 20], [20, 20], [20, 20], [20, 20], [20, 20])[1]).toHaveLength(HEIGHT);
  });

  test('bands lie over each other, each as strong as the first', () => {
    const pixels = new Uint32Array(WIDTH * HEIGHT);
    const out = Float64Array.from([2, 4, 2, 4, 2, 4, 2, 4, 2, 4, 2, 4]);
    rasterBand(pixels, WIDTH, HEIGHT, out, (v) => v, RED, 0.5);
    expect(pixels[3 * WIDTH]! >>> 24).toBe(128);
    expect(pixels[1 * WIDTH]).toBe(0);
    rasterBand(pixels, WIDTH, HEIGHT, out, (v) => v, pixel('#0000ff'), 0.5);
    const both = pixels[3 * WIDTH]!;
    expect(both >>> 24).toBe(192);
    expect((both >>> 16) & 255).toBe(170);
    expect(both & 255).toBe(85);
  });
});
