// What this browser remembers beyond the URL: theme, width of the split, last view of a storage. Losing it loses nothing.
import { type Store, makeStore } from '../api/store';

export function kept<T>(name: string, initial: T): Store<T> {
  const at = `hypertuner.${name}`;
  const store = makeStore<T>(readKept(at) ?? initial);
  store.subscribe(() => writeKept(at, store.get()));
  return store;
}

export function readKept<T>(at: string): T | null {
  try {
    const text = localStorage.getItem(at);
    return text === null ? null : (JSON.parse(text) as T);
  } catch {
    return null;
  }
}

export function writeKept(at: string, value: unknown): void {
  try {
    localStorage.setItem(at, JSON.stringify(value));
  } catch {
    // Private windows and full disks: then it is not remembered.
  }
}
