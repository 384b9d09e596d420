// What can be done with a checkpoint, as a menu.
import { download } from '../../api/ask';
import { act } from '../../app/actions';
import { openNewRun, openRun } from '../../app/view';
import type { MenuItem } from '../../parts/Menu';
import type { CheckpointRow } from './useCheckpoints';

/** Where the server has this checkpoint. */
export function pathOf(reference: string): string {
  const at = reference.lastIndexOf('@');
  const [run, which] = at < 0 ? [reference, 'model'] : [reference.slice(0, at), reference.slice(at + 1)];
  return `/api/checkpoints/${encodeURIComponent(run)}/${encodeURIComponent(which)}`;
}

export function exportItems(reference: string): MenuItem[] {
  const save = (format: string) => () => download(`${pathOf(reference)}/export`, { format });
  const run = reference.replace(/@[^@]*$/, '');
  return [
    { text: 'safetensors: the weights, for any library', run: save('safetensors') },
    { text: 'state_dict: for torch.load', run: save('state_dict') },
    { text: 'The file itself, with everything', run: save('file') },
    {
      text: 'Zip of the whole run',
      line: true,
      run: () => download(`/api/runs/${encodeURIComponent(run)}/export.zip`),
    },
  ];
}

export function checkpointItems(row: CheckpointRow): MenuItem[] {
  const broken = row.problem;
  return [
    {
      text: 'New run from these weights',
      icon: 'weights',
      keys: 'w',
      run: () => openNewRun({ run: row.run, parent: row.reference }),
      disabled: broken,
    },
    {
      text: 'Fork: go on where it was',
      icon: 'fork',
      run: () => openNewRun({ run: row.run, parent: row.reference, how: 'fork' }),
      disabled: broken ?? (row.has_training ? null : 'It has no training state'),
    },
    { text: 'Open the run', icon: 'right', run: () => openRun(row.run) },
    {
      text: row.is_pinned ? 'Unpin: cleaning may remove it' : 'Pin: cleaning never removes it',
      icon: 'pin',
      line: true,
      run: () => void act(row.is_pinned ? 'unpin' : 'pin', [], { references: [row.reference] }),
    },
    { text: 'Export', isTitle: true, line: true },
    ...exportItems(row.reference),
  ];
}
