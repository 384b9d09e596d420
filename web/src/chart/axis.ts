// How the values of axes are written.

/** `count`: whole numbers, as steps are. */
export type XKind = 'number' | 'count' | 'duration' | 'clock';

/** Between ticks of what is counted: there is no step 1.5. */
export const COUNT_STEPS = Array.from({ length: 15 }, (_, power) => [1, 2, 5].map((lead) => lead * 10 ** power)).flat();

/** Seconds between ticks that people know. */
export const DURATION_STEPS = [
  0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200,
  14400, 21600, 43200, 86400, 172800, 432000, 864000, 1728000,
];

/** 1:30, 2 h, 45 s */
export function durationTick(seconds: number, step: number): string {
  if (seconds === 0) return '0';
  if (step < 1) return `${Number(seconds.toPrecision(4))} s`;
  const s = Math.round(seconds);
  const sign = s < 0 ? '−' : '';
  const [d, h, m, rest] = [
    Math.floor(Math.abs(s) / 86400),
    Math.floor(Math.abs(s) / 3600) % 24,
    Math.floor(Math.abs(s) / 60) % 60,
    Math.abs(s) % 60,
  ];
  if (d) return sign + (h ? `${d} d ${h} h` : `${d} d`);
  if (h) return sign + (m ? `${h}:${String(m).padStart(2, '0')} h` : `${h} h`);
  if (m) return sign + (rest ? `${m}:${String(rest).padStart(2, '0')}` : `${m} min`);
  return `${sign}${rest} s`;
}

/** 21:40, 21:40:26, 26 Nov: the day where a day begins. */
export function clockTick(time: number, step: number): string {
  const date = new Date(time * 1000);
  const isMidnight = date.getHours() === 0 && date.getMinutes() === 0 && date.getSeconds() === 0;
  if (step >= 86400 || isMidnight) return date.toLocaleDateString('en-GB', { day: 'numeric', month: 'short' });
  return date.toLocaleTimeString('en-GB', {
    hour: '2-digit',
    minute: '2-digit',
    ...(step < 60 ? { second: '2-digit' } : {}),
  });
}

/** 12,000; 12k where it is long; 1e-4 where it is small. */
export function numberTick(value: number, step: number): string {
  if (value === 0) return '0';
  const size = Math.abs(value);
  const minus = value < 0 ? '−' : '';
  if (size >= 1e6) {
    const [unit, by] = size >= 1e9 ? ['G', 1e9] : ['M', 1e6];
    return size >= 1e12 ? value.toExponential(1) : `${minus}${trimmed((size / (by as number)).toFixed(2))}${unit}`;
  }
  if (size >= 10_000) return `${minus}${trimmed((size / 1000).toFixed(step < 1000 ? 2 : 1))}k`;
  if (size < 1e-3) return `${minus}${size.toExponential(1).replace('.0e', 'e')}`;
  const digits = decimals(step || size);
  return `${minus}${size.toLocaleString('en-US', { maximumFractionDigits: digits })}`;
}

/** As many as it takes: 1 for 0.5, 2 for 0.25. */
function decimals(step: number): number {
  for (let digits = 0; digits < 6; digits++) {
    const scaled = step * 10 ** digits;
    if (scaled >= 1 - 1e-9 && Math.abs(scaled - Math.round(scaled)) < 1e-6 * scaled) return digits;
  }
  return 6;
}

const trimmed = (text: string) => text.replace(/\.?0+$/, '');

/** On a log axis only these are written: enough to read by, few enough to fit. */
export function logTicks(values: (number | null)[], decades: number): (string | null)[] {
  const digits = decades > 5 ? [1] : decades > 1.5 ? [1, 3] : decades > 0.7 ? [1, 2, 5] : [1, 2, 3, 4, 5, 6, 7, 8, 9];
  return values.map((value) => {
    if (value === null || value <= 0) return null;
    const lead = Math.round(value / 10 ** Math.floor(Math.log10(value) + 1e-9));
    return digits.includes(lead) ? numberTick(value, value) : null;
  });
}
