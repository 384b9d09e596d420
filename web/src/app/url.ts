// The URL is the state: what is on the screen is what it says, so reloading, going back and sharing show the same.
import { useCallback } from 'react';
import { makeStore, useStore } from '../api/store';

export const PLACES = ['runs', 'insight', 'models', 'queue'] as const;
export type Place = (typeof PLACES)[number];
export type Params = Readonly<Record<string, string>>;
export interface Url {
  place: Place;
  params: Params;
}

export function parseUrl(path: string, search: string): Url {
  const first = path.split('/')[1] ?? '';
  const place = PLACES.find((one) => one === first) ?? 'runs';
  return { place, params: Object.fromEntries(new URLSearchParams(search)) };
}

/** '/runs?q=loss<0.4': characters that need no escape stay readable. */
export function formatUrl({ place, params }: Url): string {
  const search = new URLSearchParams(params)
    .toString()
    .replace(/%(2F|2C|3A|40|28|29|5B|5D|3C|3E|7C)/g, (code) =>
      decodeURIComponent(code).replace(/[<>]/g, encodeURIComponent),
    );
  return `/${place}${search ? `?${search}` : ''}`;
}

/** Browsers refuse more than some addresses a second: while something is dragged, the last one is written. */
const PAUSE_MS = 200;
let soon: ReturnType<typeof setTimeout> | null = null;

export const url = makeStore<Url>(parseUrl(location.pathname, location.search));
addEventListener('popstate', () => {
  // What was to be written was about the page that is left.
  if (soon !== null) clearTimeout(soon);
  soon = null;
  url.set(parseUrl(location.pathname, location.search));
});
addEventListener('pagehide', () => write());

export type Patch = Readonly<Record<string, string | null>>;

/** Changes some of what the URL says; null removes. `replace`: no entry in the browser's history (typing, dragging). */
export function go(patch: Patch, how: { place?: Place; replace?: boolean } = {}): void {
  const before = url.get();
  const said = Object.entries({ ...before.params, ...patch }).filter((one): one is [string, string] => one[1] !== null);
  const params = Object.fromEntries(said);
  const after = { place: how.place ?? before.place, params };
  const text = formatUrl(after);
  if (text === formatUrl(before)) return;
  if (how.replace) writeSoon();
  else {
    write();
    history.pushState(null, '', text);
  }
  url.set(after);
}

function writeSoon(): void {
  soon ??= setTimeout(write, PAUSE_MS);
}

function write(): void {
  if (soon === null) return;
  clearTimeout(soon);
  soon = null;
  history.replaceState(null, '', formatUrl(url.get()));
}

/** One word of the URL, and how to change it. */
export function useParam(name: string): [string | null, (value: string | null, replace?: boolean) => void] {
  const value = useStore(
    url,
    useCallback((now: Url) => now.params[name] ?? null, [name]),
  );
  const set = useCallback((next: string | null, replace = false) => go({ [name]: next }, { replace }), [name]);
  return [value, set];
}

export function usePlace(): Place {
  return useStore(url, placeOf);
}

const placeOf = (now: Url) => now.place;
