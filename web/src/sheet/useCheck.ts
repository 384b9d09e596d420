// What the server says of a new run before it is launched: asked when nothing was typed for a moment.
import { useEffect, useState } from 'react';
import { Refusal, send } from '../api/ask';
import type { Schema } from '../api/types';

export type Asked = Partial<Schema<'LaunchAsked'>>;
export type Checked = Schema<'LaunchChecked'>;

const WAIT_MS = 250;
const AGAIN_MS = 700;

/** The newest answer; the one before it stays until then. */
export function useCheck(asked: Asked): { checked: Checked | null; refusal: Refusal | null; isStale: boolean } {
  const body = JSON.stringify(asked);
  const [state, setState] = useState<{ of: string | null; checked: Checked | null; refusal: Refusal | null }>({
    of: null,
    checked: null,
    refusal: null,
  });
  useEffect(() => {
    let isNewest = true;
    const ask = () => {
      send<Checked>('/api/launch/check', JSON.parse(body))
        .then((checked) => {
          if (!isNewest) return;
          setState({ of: body, checked, refusal: null });
          if (checked.fit?.is_pending) timer = setTimeout(ask, AGAIN_MS);
        })
        .catch((cause: unknown) => {
          if (!(cause instanceof Refusal)) throw cause;
          if (isNewest) setState((before) => ({ of: body, checked: before.checked, refusal: cause }));
        });
    };
    let timer = setTimeout(ask, WAIT_MS);
    return () => {
      isNewest = false;
      clearTimeout(timer);
    };
  }, [body]);
  return { checked: state.checked, refusal: state.refusal, isStale: state.of !== body };
}
