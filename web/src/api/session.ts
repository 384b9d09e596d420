// Who we are to the server. The head of the page has asked it, and has swapped the token of the printed URL for a cookie
// (app/first.js).
import { Refusal, answered, get } from './ask';
import { makeStore } from './store';
import type { Session } from './types';

/** null until known; a Refusal where the server wants none of us. */
export const session = makeStore<Session | Refusal | null>(null);

let isFirst = true;

/** Hears who we are; the first time that is asked already. */
export async function begin(): Promise<void> {
  const first = isFirst ? window.askedFirst : undefined;
  isFirst = false;
  try {
    const asked = first ? answered(first.session).then((response) => response.json()) : get('/api/session');
    session.set((await asked) as Session);
  } catch (cause) {
    if (!(cause instanceof Refusal)) throw cause;
    session.set(cause);
  }
}

export type Scope = 'view' | 'edit' | 'run';

/** Why the session may not do what needs this scope; null where it may. */
export function whyNot(who: Session | Refusal | null, scope: Scope): string | null {
  if (who === null || who instanceof Refusal) return 'Not connected';
  return may(who, scope) ? null : `This link may not: it lacks the right to ${scope}`;
}

/** Whether the session may do what needs this scope. */
export function may(who: Session | Refusal | null, scope: Scope): boolean {
  return who !== null && !(who instanceof Refusal) && who.scopes.includes(scope);
}
