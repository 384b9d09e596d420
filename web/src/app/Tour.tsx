// Three hints for whoever comes from `hypertuner demo`; dismissed once, they never come back.
import { useState } from 'react';
import { Refusal, get } from '../api/ask';
import { session } from '../api/session';
import { useStore } from '../api/store';
import type { RunsPage } from '../api/types';
import { Button, IconButton } from '../parts/Button';
import css from './Tour.module.css';
import { kept } from './kept';
import { go } from './url';
import { openNewRun } from './view';

const isOver = kept<boolean>('tour.over', false);

const METRIC = 'best(val_accuracy)';
const BEST_FIRST = { sort: METRIC, desc: '1' };

interface Hint {
  title: string;
  text: string;
  does: string;
  show: () => void;
}

const HINTS: readonly Hint[] = [
  {
    title: 'Which run did better?',
    text: 'A click on the head of a column sorts: best first. The table and its charts are one: point at a row, and its curve stands out.',
    does: 'Sort by val_accuracy',
    show: () => go(BEST_FIRST, { place: 'runs' }),
  },
  {
    title: 'Every ▲ is a saved model',
    text: 'With the config that made it, in one file. Right-click one, or press W on a row: the next run starts from its weights.',
    does: 'Start one from the best',
    show: () => void startFromBest(),
  },
  {
    title: 'The seventh run went on where the best one ended',
    text: 'The family tree shows who began from whom, which settings changed, and what that gained. On the axis “steps since root” its curve follows its parent’s.',
    does: 'Show the family tree',
    show: () => go({ show: 'tree' }, { place: 'models' }),
  },
];

async function startFromBest(): Promise<void> {
  const { rows } = await get<RunsPage>('/api/runs', { sort: METRIC, descending: true, limit: 1 });
  if (rows[0]) openNewRun({ run: rows[0].name, parent: `${rows[0].name}@best` });
}

export function Tour() {
  const who = useStore(session);
  const over = useStore(isOver);
  const [at, setAt] = useState(0);
  if (over || !who || who instanceof Refusal || !who.is_demo) return null;
  const hint = HINTS[at]!;
  const isLast = at === HINTS.length - 1;
  return (
    <aside className={css.tour} aria-label="Three hints">
      <header>
        <h2>{hint.title}</h2>
        <IconButton icon="close" label="Do not show the hints again" onClick={() => isOver.set(true)} />
      </header>
      <p>{hint.text}</p>
      <footer>
        <span>
          {at + 1} of {HINTS.length}
        </span>
        {at > 0 && (
          <Button size="small" kind="quiet" onClick={() => setAt(at - 1)}>
            Back
          </Button>
        )}
        <Button size="small" onClick={hint.show}>
          {hint.does}
        </Button>
        <Button size="small" kind="primary" onClick={() => (isLast ? isOver.set(true) : setAt(at + 1))}>
          {isLast ? 'Done' : 'Next'}
        </Button>
      </footer>
    </aside>
  );
}
