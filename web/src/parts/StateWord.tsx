// A run's state: a mark and a word, never a colour alone.
import { names } from './names';
import css from './StateWord.module.css';

const SIGNS: Record<string, string> = {
  draft: '○',
  queued: '…',
  running: '▸',
  finished: '✓',
  failed: '✕',
  crashed: '☠',
  stopped: '■',
  pruned: '✂',
  unknown: '?',
};

export function StateWord({
  state,
  short = false,
  tip,
}: {
  state: string;
  short?: boolean;
  tip?: string | null | undefined;
}) {
  const kind = ['failed', 'crashed'].includes(state) ? css.bad : state === 'running' ? css.live : css.calm;
  return (
    <span className={names(css.state, kind)} data-tip={tip ?? (short ? state : undefined)}>
      <span aria-hidden="true" className={css.sign}>
        {SIGNS[state] ?? '?'}
      </span>
      <span className={short ? 'unseen' : undefined}>{state}</span>
    </span>
  );
}
