// A bare URL shows what was last shown of this storage: everything set is kept, and a URL that says something wins.
import { Refusal } from '../api/ask';
import { session } from '../api/session';
import { readKept, writeKept } from './kept';
import { type Params, go, url } from './url';

/** What a visit is about, not how one likes to look at things. */
const OF_ONE_VISIT = ['run', 'tab', 'new', 'parent', 'how', 'set', 'zoom', 'zoomy', 'chart'];

export function rememberView(): void {
  const who = session.get();
  if (!who || who instanceof Refusal) return;
  const at = `hypertuner.view.${who.storage}`;
  const before = readKept<Params>(at);
  if (before && Object.keys(url.get().params).length === 0) go(before, { replace: true });
  url.subscribe(() => {
    const { params } = url.get();
    writeKept(at, Object.fromEntries(Object.entries(params).filter(([name]) => !OF_ONE_VISIT.includes(name))));
  });
}
