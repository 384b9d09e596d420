// What is done to runs: one call, one sentence about it, and its undo.
import { Refusal, send } from '../api/ask';
import type { Action, ActionAsked, ActionDone } from '../api/types';
import { makeStore } from '../api/store';
import { toast } from '../parts/Toast';

/** Grows with each action that the server did: whoever shows what it may have changed reads again. */
export const actionsDone = makeStore(0);

export async function act(
  action: Action,
  names: string[],
  more: Partial<ActionAsked> = {},
): Promise<ActionDone | null> {
  try {
    const done = await send<ActionDone>('/api/actions', { action, names, ...more });
    actionsDone.set((n) => n + 1);
    const failed = done.failed.map((one) => `${one.name}: ${one.message}`).slice(0, 5);
    const { undo } = done;
    toast({
      text: [done.message, ...failed].filter(Boolean).join('\n'),
      isBad: failed.length > 0,
      ...(undo && done.done.length ? { undo: () => void act(undo, done.done, more) } : {}),
    });
    return done;
  } catch (cause) {
    complain(cause);
    return null;
  }
}

/** Shows a refusal; anything else is a mistake of ours and goes on. */
export function complain(cause: unknown): void {
  if (!(cause instanceof Refusal)) throw cause;
  toast({ text: cause.message, isBad: true });
}
