// How numbers, sizes and times are written everywhere.
import type { Value } from '../api/types';

/** Four significant digits, at most nine characters: 0.2153, 3e-4, 12,480. */
export function number(value: number): string {
  if (Number.isNaN(value)) return 'NaN';
  if (!Number.isFinite(value)) return value > 0 ? '∞' : '−∞';
  if (value === 0) return '0';
  const size = Math.abs(value);
  if (size >= 1e6 || size < 1e-3) {
    const [digits, power] = value.toExponential(3).split('e') as [string, string];
    return minus(`${trimmed(digits)}e${Number(power)}`);
  }
  if (Number.isInteger(value)) return minus(value.toLocaleString('en-US'));
  return minus(trimmed(value.toPrecision(4)));
}

/** As `number`, but with its trailing zeros: in a column, points stand below points. */
export function aligned(value: number): string {
  const size = Math.abs(value);
  return size >= 1e-3 && size < 1000 && !Number.isInteger(value) ? minus(value.toPrecision(4)) : number(value);
}

/** Every digit there is. */
export function exact(value: number): string {
  return Number.isFinite(value) ? String(value) : number(value);
}

/** 12,480 */
export function count(value: number): string {
  return value.toLocaleString('en-US');
}

/** '3 runs', '1 run'. */
export function plural(value: number, one: string, many = `${one}s`): string {
  return `${count(value)} ${value === 1 ? one : many}`;
}

const trimmed = (text: string) => (text.includes('.') ? text.replace(/\.?0+$/, '') : text);
const minus = (text: string) => text.replace(/^-/, '−');

/** A setting or a metric's value on one line; `nonfinite` where the number has no JSON. */
export function value(given: Value | undefined, nonfinite?: string): string {
  if (nonfinite !== undefined) return nonfinite === 'nan' ? 'NaN' : nonfinite.startsWith('-') ? '−∞' : '∞';
  if (given === undefined) return '';
  if (typeof given === 'number') return number(given);
  if (given === null) return 'none';
  if (typeof given === 'boolean') return given ? 'true' : 'false';
  return typeof given === 'string' ? given : JSON.stringify(given);
}

/** All of a value, for tooltips and copying. */
export function exactValue(given: Value | undefined, nonfinite?: string): string {
  return typeof given === 'number' ? exact(given) : value(given, nonfinite);
}

/** 85 MB, 6.2 GB */
export function bytes(nbytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'];
  let size = nbytes;
  let unit = 0;
  while (size >= 999.5 && unit < units.length - 1) {
    size /= 1000;
    unit += 1;
  }
  return `${unit === 0 || size >= 99.95 ? Math.round(size) : trimmed(size.toPrecision(2))} ${units[unit]}`;
}

/** 41 s, 2 min, 2 h 14, 3 d 4 h */
export function duration(seconds: number): string {
  const s = Math.max(0, seconds);
  if (s < 1) return `${Math.round(s * 1000)} ms`;
  if (s < 10) return `${trimmed(s.toFixed(1))} s`;
  if (s < 60) return `${Math.round(s)} s`;
  const minutes = Math.round(s / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return `${hours} h ${String(minutes % 60).padStart(2, '0')}`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** How long ago, in one word; the tooltip has the moment. */
export function ago(time: number, now = Date.now() / 1000): string {
  const s = now - time;
  if (s < 45) return 'now';
  if (s < 3600) return `${Math.round(s / 60)} min`;
  if (s < 86400) return `${Math.round(s / 3600)} h`;
  if (s < 30 * 86400) return `${Math.round(s / 86400)} d`;
  return new Date(time * 1000).toLocaleDateString('en-CA');
}

/** 2026-11-26 21:40:26 */
export function moment(time: number): string {
  const date = new Date(time * 1000);
  return `${date.toLocaleDateString('en-CA')} ${date.toLocaleTimeString('en-GB')}`;
}

export function percent(share: number): string {
  return `${Math.round(share * 100)} %`;
}
