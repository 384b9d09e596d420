/** Paths of small histograms, for SVG. */

/** Bars from the bottom of a box; zero counts are gaps, and a count above zero is never thinner than a pixel. */
export function barsPath(counts: readonly number[], width: number, height: number): string {
  const most = Math.max(0, ...counts.filter(Number.isFinite));
  if (most === 0 || counts.length === 0) return '';
  const bar = width / counts.length;
  return counts
    .map((count, at) => {
      if (!(count > 0)) return '';
      const tall = Math.max(1, (count / most) * height);
      return `M${round(at * bar)} ${height}v${round(-tall)}h${round(bar)}v${round(tall)}z`;
    })
    .join('');
}

/** Bars of different widths: `counts[i]` between `edges[i]` and `edges[i + 1]`, as densities, so that areas tell. */
export function edgesPath(edges: readonly number[], counts: readonly number[], width: number, height: number): string {
  const from = edges[0] ?? 0;
  const span = (edges[edges.length - 1] ?? 0) - from;
  if (!(span > 0)) return barsPath(counts, width, height);
  const densities = counts.map((count, at) => count / Math.max((edges[at + 1] ?? 0) - (edges[at] ?? 0), span * 1e-9));
  const most = Math.max(0, ...densities);
  if (most === 0) return '';
  return densities
    .map((density, at) => {
      if (!(density > 0)) return '';
      const left = ((edges[at]! - from) / span) * width;
      const wide = ((edges[at + 1]! - edges[at]!) / span) * width;
      const tall = Math.max(1, (density / most) * height);
      return `M${round(left)} ${height}v${round(-tall)}h${round(wide)}v${round(tall)}z`;
    })
    .join('');
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}
