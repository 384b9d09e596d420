// From values to pixels and back, linear or logarithmic.

export interface Scale {
  from: number;
  to: number;
  isLog: boolean;
}

/** Where `value` lies between from and to: 0 to 1. */
export function share(scale: Scale, value: number): number {
  if (!scale.isLog) return (value - scale.from) / (scale.to - scale.from);
  const low = Math.log10(scale.from);
  return (Math.log10(value) - low) / (Math.log10(scale.to) - low);
}

export function unshare(scale: Scale, at: number): number {
  if (!scale.isLog) return scale.from + at * (scale.to - scale.from);
  const low = Math.log10(scale.from);
  return 10 ** (low + at * (Math.log10(scale.to) - low));
}

/** The x of all points: to a round number beyond them, so that a curve that grows does not move with each point. */
export function roundEnd(from: number, to: number): number {
  const span = to - from;
  if (!(span > 0)) return to;
  const power = 10 ** Math.floor(Math.log10(span / 40));
  const step = [1, 2, 5, 10].map((k) => k * power).find((one) => one >= span / 40)!;
  return Math.ceil(to / step - 1e-9) * step;
}

/** Least and greatest y with a little air; on a log axis the air is a factor. */
export function airy(low: number, high: number, isLog: boolean): [number, number] {
  if (!(low <= high)) return isLog ? [0.1, 1] : [0, 1];
  if (isLog) {
    const factor = Math.max((high / low) ** 0.04, low === high ? 1.5 : 1.02);
    return [low / factor, high * factor];
  }
  const air = (high - low) * 0.05 || Math.abs(high) * 0.1 || 1;
  return [low - air, high + air];
}
