// What part of the curves is shown: of x in all charts, of y in each.
import { type View, changeView, readView } from '../../app/view';
import { url } from '../../app/url';
import type { Zoom } from '../../chart/plot';

/** Zooms a chart, and all others in x. */
export function zoomTo(metric: string, { x, y }: Zoom): void {
  const others = readView(url.get().params).zoomY.filter((one) => one[0] !== metric);
  const patch: Partial<View> = {};
  if (x !== undefined) patch.zoom = x && round(x);
  if (y !== undefined) patch.zoomY = y ? [...others, [metric, ...round(y)]] : others;
  changeView(patch, true);
}

export const isZoomed = (view: View): boolean => view.zoom !== null || view.zoomY.length > 0;
export const resetZoom = (): void => changeView({ zoom: null, zoomY: [] });

/** So many digits that no two pixels are one. */
function round([from, to]: [number, number]): [number, number] {
  const digits = Math.max(
    3,
    Math.ceil(Math.log10(Math.max(Math.abs(from), Math.abs(to)) / Math.max(1e-300, to - from))) + 4,
  );
  return [Number(from.toPrecision(Math.min(15, digits))), Number(to.toPrecision(Math.min(15, digits)))];
}
