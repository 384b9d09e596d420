/** Paths of the small strips that show the machine's last ten minutes. */

export interface Sample {
  time: number;
  share: number | null;
}

/** The window that a strip shows, in seconds. */
export const WINDOW_S = 600;

/** A filled area and its upper line, of shares from 0 to 1; a gap where samples are missing or far apart. */
export function areaPaths(
  samples: readonly Sample[],
  now: number,
  width: number,
  height: number,
): { area: string; line: string } {
  let area = '';
  let line = '';
  let piece: [number, number][] = [];
  const close = () => {
    if (piece.length > 0) {
      const points = piece.map(([x, y]) => `${round(x)} ${round(y)}`);
      line += `M${points.join('L')}${piece.length === 1 ? 'h1' : ''}`;
      area += `M${round(piece[0]![0])} ${height}L${points.join('L')}L${round(piece[piece.length - 1]![0])} ${height}z`;
    }
    piece = [];
  };
  let before = -Infinity;
  for (const { time, share } of samples) {
    if (share === null || !Number.isFinite(share) || time < now - WINDOW_S) {
      close();
      continue;
    }
    if (time - before > 15) close();
    before = time;
    const x = (1 - (now - time) / WINDOW_S) * width;
    piece.push([x, height - Math.max(0, Math.min(1, share)) * height]);
  }
  close();
  return { area, line };
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}
