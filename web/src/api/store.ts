// A value that parts of the page watch: no library, one subscription a reader, and only what a reader picks wakes it.
import { useCallback, useRef, useSyncExternalStore } from 'react';

export interface Store<T> {
  get(): T;
  set(next: T | ((before: T) => T)): void;
  subscribe(listener: () => void): () => void;
}

export function makeStore<T>(initial: T): Store<T> {
  let value = initial;
  const listeners = new Set<() => void>();
  return {
    get: () => value,
    set(next) {
      const after = typeof next === 'function' ? (next as (before: T) => T)(value) : next;
      if (Object.is(after, value)) return;
      value = after;
      [...listeners].forEach((listener) => listener());
    },
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

export function useStore<T>(store: Store<T>): T;
export function useStore<T, P>(store: Store<T>, pick: (value: T) => P): P;
export function useStore<T, P>(store: Store<T>, pick?: (value: T) => P): T | P {
  const held = useRef<{ value: T; pick: ((value: T) => P) | undefined; picked: T | P } | null>(null);
  const snapshot = useCallback(() => {
    const value = store.get();
    if (!held.current || !Object.is(held.current.value, value) || held.current.pick !== pick)
      held.current = { value, pick, picked: pick ? pick(value) : value };
    return held.current.picked;
  }, [store, pick]);
  return useSyncExternalStore(store.subscribe, snapshot);
}
