// A run's detail, read again whenever the server says that the run changed.
import { useEffect } from 'react';
import { useStore } from '../api/store';
import type { Schema } from '../api/types';
import { type Read, useGet } from '../api/use';
import { actionsDone } from '../app/actions';
import { live } from '../live/live';

export type Detail = Schema<'RunDetail'>;

/** At most once in this long: a run that trains changes several times a second. */
const PAUSE_MS = 2000;

export function useDetail(name: string): Read<Detail> {
  const read = useGet<Detail>(`/api/runs/${encodeURIComponent(name)}`);
  const done = useStore(actionsDone);
  const { again } = read;
  useEffect(() => {
    if (done > 0) again();
  }, [done, again]);
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | null = null;
    const soon = () => {
      timer ??= setTimeout(() => {
        timer = null;
        again();
      }, PAUSE_MS);
    };
    const leave = [
      live.on('rows', (message) => message.rows.some((row) => row.name === name) && soon()),
      live.onAgain(soon),
    ];
    return () => {
      leave.forEach((one) => one());
      if (timer) clearTimeout(timer);
    };
  }, [name, again]);
  return read;
}
