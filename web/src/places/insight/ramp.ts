// A ramp of colours that grows evenly in lightness, so that its order is seen without seeing hues; in each theme it keeps
// away from the background.
const STOPS: Record<'dark' | 'light', readonly (readonly [number, number, number])[]> = {
  dark: [
    [86, 108, 196],
    [72, 146, 190],
    [74, 180, 160],
    [140, 205, 110],
    [246, 224, 94],
  ],
  light: [
    [44, 36, 110],
    [42, 84, 150],
    [24, 128, 134],
    [70, 150, 70],
    [176, 140, 16],
  ],
};

/** The colour at a share from 0 to 1. */
export function colourAt(share: number, theme: 'dark' | 'light'): string {
  const stops = STOPS[theme];
  const at = Math.max(0, Math.min(1, share)) * (stops.length - 1);
  const from = Math.min(stops.length - 2, Math.floor(at));
  const mixed = stops[from]!.map((one, part) => Math.round(one + (at - from) * (stops[from + 1]![part]! - one)));
  return `rgb(${mixed.join(' ')})`;
}
