// Parts of the page that are fetched when they are first opened, from a server that may be gone just then, or another.
import { type ComponentType, type LazyExoticComponent, lazy } from 'react';
import { makeStore } from '../api/store';

const PAUSE_MS = 1000;

/** The server has the page of another version: what is not here yet comes only with a reload. */
export const isReplaced = makeStore(false);

/** A part of the page; asked for again until it comes, as one that failed once would stay away for ever. */
export function part<P>(read: () => Promise<ComponentType<P>>): LazyExoticComponent<ComponentType<P>> {
  return lazy(async () => {
    for (;;) {
      try {
        return { default: await read() };
      } catch {
        if (await isGone()) {
          isReplaced.set(true);
          return new Promise<never>(() => {});
        }
        await new Promise((done) => setTimeout(done, PAUSE_MS));
      }
    }
  });
}

/** The file that this stands in has the hash of what all parts are called in its name. */
async function isGone(): Promise<boolean> {
  try {
    return (await fetch(import.meta.url, { cache: 'no-store' })).status === 404;
  } catch {
    return false;
  }
}
