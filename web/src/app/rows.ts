// Rows of the runs that somebody looks at, by name: fetched once, kept fresh by what the server says.
import { useEffect, useMemo, useRef, useState } from 'react';
import { type Asked, address, get } from '../api/ask';
import type { RunRow, RunsPage } from '../api/types';
import { live } from '../live/live';

const AT_ONCE = 100;

/** As many as a window of the table holds. */
export const NEWEST = 200;

const underway = new Map<string, Promise<RunsPage>>();

/** What several parts of the page want at once is asked for once. */
function readOnce(path: string, asked: Asked): Promise<RunsPage> {
  const where = address(path, asked);
  const found = underway.get(where);
  if (found) return found;
  const page = get<RunsPage>(where).finally(() => underway.delete(where));
  underway.set(where, page);
  return page;
}

const readRows = (name: string[]) => readOnce('/api/runs/rows', { name });
/** The newest of the runs that match: what the table shows first, and charts draw. */
export const readNewest = (query: string) => readOnce('/api/runs', { query, offset: 0, limit: NEWEST });

/** The rows of these runs, in this order; those not known yet, or gone, are left out. `page`: an answer that has some of
 * them: these are not asked for again, unless they have changed since. */
export function useRows(names: readonly string[], page?: RunsPage): RunRow[] {
  const [held, setHeld] = useState<ReadonlyMap<string, RunRow>>(new Map());
  const known = useRef(new Set<string>());
  const key = names.join('\n');
  useEffect(() => {
    const wanted = key === '' ? [] : key.split('\n');
    const isWanted = new Set(wanted);
    // Of what nobody looked at for a while, no change was heard.
    for (const name of known.current) if (!isWanted.has(name)) known.current.delete(name);
    let isGone = false;
    const read = (which: string[]) => {
      for (let at = 0; at < which.length; at += AT_ONCE) {
        readRows(which.slice(at, at + AT_ONCE)).then(
          ({ rows, revision }) => {
            if (isGone) return;
            if (live.isBehind(revision)) read(which);
            rows.forEach((row) => known.current.add(row.name));
            setHeld((before) => new Map([...before, ...rows.map((row) => [row.name, row] as const)]));
          },
          () => undefined,
        );
      }
    };
    const given = page && !live.isBehind(page.revision) ? page.rows : [];
    const came = given.filter((row) => isWanted.has(row.name) && !known.current.has(row.name));
    if (came.length) {
      came.forEach((row) => known.current.add(row.name));
      setHeld((before) => new Map([...before, ...came.map((row) => [row.name, row] as const)]));
    }
    read(wanted.filter((name) => !known.current.has(name)));
    const stops = [
      live.on('rows', (message) => {
        const newer = message.rows.filter((row) => isWanted.has(row.name));
        if (message.has_more) read(wanted);
        else if (newer.length)
          setHeld((before) => new Map([...before, ...newer.map((row) => [row.name, row] as const)]));
      }),
      live.onAgain(() => read(wanted)),
    ];
    return () => {
      isGone = true;
      stops.forEach((stop) => stop());
    };
  }, [key, page]);
  return useMemo(() => names.flatMap((name) => held.get(name) ?? []), [names, held]);
}
