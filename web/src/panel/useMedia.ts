// What media runs have logged.
import { useEffect, useState } from 'react';
import { get } from '../api/ask';
import type { Schema } from '../api/types';

type Item = Schema<'MediaItem'>;
/** Most runs side by side. */
export const MOST_BESIDE = 6;

/** By run; asked again when `step` is another. */
export function useMedia(runs: readonly string[], step: number | null): Record<string, Item[]> {
  const [lists, setLists] = useState<Record<string, Item[]>>({});
  useEffect(() => {
    const leaving = new AbortController();
    void Promise.all(
      runs.map(async (run) => {
        const list = await get<Schema<'MediaList'>>(
          `/api/runs/${encodeURIComponent(run)}/media`,
          undefined,
          leaving.signal,
        ).catch(() => null);
        return [run, list?.items ?? []] as const;
      }),
    ).then((all) => !leaving.signal.aborted && setLists(Object.fromEntries(all)));
    return () => leaving.abort();
  }, [runs, step]);
  return lists;
}
