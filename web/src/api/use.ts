// Reading in a component: the previous answer stays while the next is fetched, so that nothing jumps or blinks.
import { useCallback, useEffect, useState } from 'react';
import { type Asked, Refusal, address, get } from './ask';

export interface Read<T> {
  answer: T | null;
  refusal: Refusal | null;
  isLoading: boolean;
  again(): void;
}

/** GETs `path` whenever it or what is asked changes; null asks nothing. */
export function useGet<T>(path: string | null, asked?: Asked): Read<T> {
  const where = path === null ? null : address(path, asked);
  const [turn, setTurn] = useState(0);
  const [state, setState] = useState<{ of: string | null; answer: T | null; refusal: Refusal | null }>({
    of: null,
    answer: null,
    refusal: null,
  });
  useEffect(() => {
    if (where === null) return undefined;
    const leaving = new AbortController();
    get<T>(where, undefined, leaving.signal)
      .then((answer) => setState({ of: where, answer, refusal: null }))
      .catch((cause: unknown) => {
        if (leaving.signal.aborted) return;
        if (!(cause instanceof Refusal)) throw cause;
        setState((before) => ({ of: where, answer: before.answer, refusal: cause }));
      });
    return () => leaving.abort();
  }, [where, turn]);
  const again = useCallback(() => setTurn((n) => n + 1), []);
  return { ...state, isLoading: where !== state.of, again };
}
