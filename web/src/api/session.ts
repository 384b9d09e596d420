// Who we are to the server: the token of the printed URL becomes a cookie, and leaves the address bar at once.
import { get, send } from './ask';
import { makeStore } from './store';
import { Refusal } from './ask';
import type { Session } from './types';

/** null until known; a Refusal where the server wants none of us. */
export const session = makeStore<Session | Refusal | null>(null);

/** Signs in when the URL carries a token, then asks who we are. */
export async function begin(): Promise<void> {
  const token = new URLSearchParams(location.hash.slice(1)).get('token');
  try {
    if (token !== null) {
      history.replaceState(history.state, '', location.pathname + location.search);
      await send('/api/login', { token });
    }
    session.set(await get<Session>('/api/session'));
  } catch (cause) {
    if (!(cause instanceof Refusal)) throw cause;
    session.set(cause);
  }
}

export type Scope = 'view' | 'edit' | 'run';

/** Whether the session may do what needs this scope. */
export function may(who: Session | Refusal | null, scope: Scope): boolean {
  return who !== null && !(who instanceof Refusal) && who.scopes.includes(scope);
}
