// What is fetched when it is first opened, from a server that may be gone just then.

const PAUSE_MS = 1000;

/** Asks again until it comes: a part of the page that failed once would stay away for ever. */
export function patiently<T>(read: () => Promise<T>): () => Promise<T> {
  return async () => {
    for (;;) {
      try {
        return await read();
      } catch {
        await new Promise((done) => setTimeout(done, PAUSE_MS));
      }
    }
  };
}
