// Rows of the runs that somebody looks at, by name: fetched once, kept fresh by what the server says.
import { useEffect, useMemo, useRef, useState } from 'react';
import { get } from '../api/ask';
import type { RunRow, RunsPage } from '../api/types';
import { live } from '../live/live';

const AT_ONCE = 100;

/** The rows of these runs, in this order; those not known yet, or gone, are left out. */
export function useRows(names: readonly string[]): RunRow[] {
  const [held, setHeld] = useState<ReadonlyMap<string, RunRow>>(new Map());
  const known = useRef(new Set<string>());
  const key = names.join('\n');
  useEffect(() => {
    const wanted = key === '' ? [] : key.split('\n');
    const leaving = new AbortController();
    const read = (which: string[]) => {
      for (let at = 0; at < which.length; at += AT_ONCE) {
        const name = which.slice(at, at + AT_ONCE);
        get<RunsPage>('/api/runs/rows', { name }, leaving.signal).then(
          ({ rows }) =>
            setHeld((before) => {
              const next = new Map(before);
              rows.forEach((row) => {
                known.current.add(row.name);
                next.set(row.name, row);
              });
              return next;
            }),
          () => undefined,
        );
      }
    };
    read(wanted.filter((name) => !known.current.has(name)));
    const isWanted = new Set(wanted);
    const stops = [
      live.on('rows', (message) => {
        const newer = message.rows.filter((row) => isWanted.has(row.name));
        if (message.has_more) read(wanted);
        else if (newer.length)
          setHeld((before) => {
            const next = new Map(before);
            newer.forEach((row) => next.set(row.name, row));
            return next;
          });
      }),
      live.onAgain(() => read(wanted)),
    ];
    return () => {
      leaving.abort();
      stops.forEach((stop) => stop());
    };
  }, [key]);
  return useMemo(() => names.flatMap((name) => held.get(name) ?? []), [names, held]);
}
