// Launching: the runs are made, and shown where one looks.
import { send } from '../api/ask';
import type { Schema } from '../api/types';
import { actionsDone } from '../app/actions';
import { go, url } from '../app/url';
import { changeView, readView } from '../app/view';
import { toast } from '../parts/Toast';
import type { Asked } from './useCheck';

export type Mode = 'draft' | 'queue' | 'now';

/** Most runs that are put on the charts at once. */
const MOST_SHOWN = 10;

/** Makes the runs. What starts now is selected, beside its parent; a child's curve goes on where its parent's was. */
export async function launch(asked: Asked & { mode: Mode }): Promise<Schema<'Launched'>> {
  const launched = await send<Schema<'Launched'>>('/api/launch', asked);
  actionsDone.set((n) => n + 1);
  const view = readView(url.get().params);
  const parent = asked.parent?.split('@')[0];
  if (asked.mode === 'now') {
    const selected = view.selected === 'every' ? [] : (view.selected ?? []);
    const shown = [...new Set([...selected, ...(parent ? [parent] : []), ...launched.runs.slice(0, MOST_SHOWN)])];
    const isContinued = asked.how === 'weights' && view.x === 'step';
    if (view.selected !== null || parent) changeView({ selected: shown });
    if (isContinued) changeView({ x: 'root' }, true);
    if (url.get().place !== 'runs') go({}, { place: 'runs' });
    if (isContinued) {
      toast({
        text: `${launched.message} The x axis counts steps since the root now, so that it goes on where ${parent ?? 'its parent'} was.`,
        undo: () => changeView({ x: 'step' }),
        undoText: 'Back to steps',
      });
      return launched;
    }
  }
  toast({ text: launched.message });
  return launched;
}
