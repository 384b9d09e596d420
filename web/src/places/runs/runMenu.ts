// What can be done to a run, or to all that are selected: the same list at the right button and below the table.
import { download } from '../../api/ask';
import { session, whyNot } from '../../api/session';
import type { Action, RunRow } from '../../api/types';
import { act } from '../../app/actions';
import { openNewRun, openRun } from '../../app/view';
import { plural } from '../../parts/format';
import type { MenuItem } from '../../parts/Menu';
import { togglePin } from './pins';

const STILL_GOING = ['running'];

export function forbidden(scope: 'edit' | 'run'): string | null {
  return whyNot(session.get(), scope);
}

/** `rows`: of those that are known. `query`: what they all match, where nobody has named them. */
export function bulkItems(names: readonly string[], rows: readonly RunRow[], query: string | null = null): MenuItem[] {
  const all = [...names];
  // What is done to several says to how many.
  const many = all.length > 1 ? ` ${plural(all.length, 'run')}` : '';
  const every = (does: (row: RunRow) => boolean) => rows.length === all.length && rows.every(does);
  const some = (does: (row: RunRow) => boolean) => rows.length < all.length || rows.some(does);
  const item = (
    text: string,
    action: Action,
    more: Partial<MenuItem> = {},
    scope: 'edit' | 'run' = 'edit',
  ): MenuItem => ({
    text,
    run: () => void act(action, all),
    disabled: forbidden(scope),
    ...more,
  });
  const isStarred = every((row) => row.starred);
  const isArchived = every((row) => row.archived);
  return [
    item(isStarred ? `Unstar${many}` : `Star${many}`, isStarred ? 'unstar' : 'star', { icon: 'star' }),
    item(isArchived ? `Unarchive${many}` : `Archive${many}`, isArchived ? 'unarchive' : 'archive', { icon: 'archive' }),
    ...(some((row) => STILL_GOING.includes(row.state))
      ? [item('Stop (saves first)', 'stop', { icon: 'stop', line: true }, 'run')]
      : []),
    ...(some((row) => ['failed', 'crashed', 'stopped', 'finished'].includes(row.state))
      ? [item(many ? `Queue${many} again` : 'Queue again', 'requeue', { icon: 'again' }, 'run')]
      : []),
    ...(some((row) => row.state === 'queued')
      ? [item('Take out of the queue', 'withdraw', { icon: 'close' }, 'run')]
      : []),
    {
      text: 'Export as CSV',
      icon: 'download',
      line: true,
      run: () => download('/api/runs/export.csv', query === null ? { name: all } : { query }),
    },
    item(`Delete${many}`, 'trash', { icon: 'trash', isDanger: true, line: true }, 'run'),
  ];
}

export function runMenu(row: RunRow, show: (names: readonly string[] | null) => void): MenuItem[] {
  return [
    { text: 'Open', icon: 'eye', keys: 'Enter', run: () => openRun(row.name) },
    { text: 'Show only this run', icon: 'chart', keys: 's', run: () => show([row.name]) },
    { text: 'Pin at the top', icon: 'pin', keys: 'p', run: () => togglePin(row.name) },
    { text: 'Duplicate', icon: 'copy', keys: 'd', line: true, run: () => openNewRun({ run: row.name }) },
    {
      text: 'New run from its weights',
      icon: 'weights',
      keys: 'w',
      disabled: row.checkpoints ? null : 'It has not saved any',
      run: () => openNewRun({ run: row.name, parent: row.name }),
    },
    { text: 'Copy the name', icon: 'copy', run: () => void navigator.clipboard.writeText(row.name) },
    ...bulkItems([row.name], [row]).map((item, at) => (at === 0 ? { ...item, line: true } : item)),
  ];
}
