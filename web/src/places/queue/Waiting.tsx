// Runs that wait, in the order in which they will start: dragged, or moved by key (Alt ↑ ↓), held, let go, withdrawn.
import { useRef, useState } from 'react';
import { act } from '../../app/actions';
import { openRun } from '../../app/view';
import type { QueueView, RunRow, Schema } from '../../api/types';
import { IconButton } from '../../parts/Button';
import { duration } from '../../parts/format';
import { type MenuItem, showMenu } from '../../parts/Menu';
import { names } from '../../parts/names';
import { RunMark } from '../../parts/RunMark';
import { VirtualList } from '../../parts/VirtualList';
import css from './Queue.module.css';
import { type Move, moveTo, moved } from './order';

interface Props {
  queue: QueueView;
  rows: ReadonlyMap<string, RunRow>;
  mayRun: boolean;
  onMove: (move: Move) => void;
}

export function Waiting({ queue, rows, mayRun, onMove }: Props) {
  const [dragged, setDragged] = useState<string | null>(null);
  const [over, setOver] = useState<number | null>(null);
  const [asked, setAsked] = useState<{ of: QueueView; move: Move } | null>(null);
  const list = useRef<HTMLElement>(null);
  const order = queue.waiting.map((one) => one.name);
  // Until the server has answered, the order that was asked for is shown.
  const shown = asked?.of === queue ? moved(order, asked.move) : order;
  const of = new Map(queue.waiting.map((one) => [one.name, one]));
  const move = (name: string, to: number) => {
    const asks = moveTo(shown, name, to);
    if (!asks || !mayRun) return;
    setAsked({ of: queue, move: asks });
    onMove(asks);
    requestAnimationFrame(() => list.current?.querySelector<HTMLElement>(`[data-name="${CSS.escape(name)}"]`)?.focus());
  };
  const drop = () => {
    if (dragged !== null && over !== null) {
      const from = shown.indexOf(dragged);
      move(dragged, over > from ? over - 1 : over);
    }
    setDragged(null);
    setOver(null);
  };
  if (shown.length === 0) return <p className={css.none}>Nothing waits.</p>;
  return (
    <section aria-label="Waiting" className={css.waiting} ref={list}>
      <h2>
        Waiting <span className={css.soft}>{mayRun && 'drag, or Alt ↑ ↓, to reorder'}</span>
      </h2>
      <VirtualList label="Runs that wait" className={css.list} count={shown.length} rowHeight={34}>
        {(at) => {
          const one = of.get(shown[at]!);
          if (!one) return null;
          return (
            <div
              key={one.name}
              data-name={one.name}
              tabIndex={0}
              role="group"
              aria-label={`${at + 1}: ${one.name}, ${one.reason}`}
              draggable={mayRun}
              className={names(
                css.row,
                one.is_held && css.held,
                dragged === one.name && css.dragged,
                over === at && css.before,
                over === at + 1 && at === shown.length - 1 && css.after,
              )}
              onDragStart={(event) => {
                event.dataTransfer.effectAllowed = 'move';
                event.dataTransfer.setData('text/plain', one.name);
                setDragged(one.name);
              }}
              onDragOver={(event) => {
                if (dragged === null) return;
                event.preventDefault();
                const box = event.currentTarget.getBoundingClientRect();
                setOver(event.clientY > box.top + box.height / 2 ? at + 1 : at);
              }}
              onDrop={(event) => {
                event.preventDefault();
                drop();
              }}
              onDragEnd={() => {
                setDragged(null);
                setOver(null);
              }}
              onKeyDown={(event) => {
                const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
                if (event.altKey && step !== undefined) move(one.name, at + step);
                else if (step !== undefined)
                  (
                    list.current?.querySelector(
                      `[data-name="${CSS.escape(shown[at + step] ?? '')}"]`,
                    ) as HTMLElement | null
                  )?.focus();
                else if (event.key === 'Enter' && event.target === event.currentTarget) openRun(one.name);
                else return;
                event.preventDefault();
              }}
            >
              <span className={css.grip} aria-hidden="true">
                ⠿
              </span>
              <span className={css.place_}>{at + 1}</span>
              <Mark row={rows.get(one.name)} />
              <button type="button" className={css.name} onClick={() => openRun(one.name)}>
                {one.name}
              </button>
              <span className={css.label}>{one.label}</span>
              <span className={css.reason}>{one.is_held ? 'held' : one.reason}</span>
              <span
                className={css.takes}
                data-tip="How long it runs once it has started, about: as long as runs like it did"
              >
                {one.takes_s === null ? '' : `takes ≈ ${duration(one.takes_s)}`}
              </span>
              <IconButton
                icon="more"
                label={`More to do with ${one.name}`}
                onClick={(event) => showMenu(event.currentTarget, one.name, items(one, at, shown.length, mayRun, move))}
              />
            </div>
          );
        }}
      </VirtualList>
    </section>
  );
}

function Mark({ row }: { row: RunRow | undefined }) {
  return row ? <RunMark colour={row.colour} mark={row.mark} /> : <span className={css.noMark} />;
}

function items(
  one: Schema<'WaitingRun'>,
  at: number,
  length: number,
  mayRun: boolean,
  move: (name: string, to: number) => void,
): MenuItem[] {
  const no = mayRun ? null : 'This link may look, but not start runs';
  return [
    {
      text: 'Start next',
      icon: 'up',
      run: () => move(one.name, 0),
      disabled: no ?? (at === 0 ? 'It is the next' : null),
    },
    {
      text: 'Start last',
      icon: 'down',
      run: () => move(one.name, length - 1),
      disabled: no ?? (at === length - 1 ? 'It is the last' : null),
    },
    one.is_held
      ? { text: 'Let it go', icon: 'play', run: () => void act('release', [one.name]), disabled: no }
      : {
          text: 'Hold: it keeps its place, and is not started',
          icon: 'pause',
          run: () => void act('hold', [one.name]),
          disabled: no,
        },
    {
      text: 'Withdraw: it stays as a draft',
      icon: 'close',
      line: true,
      run: () => void act('withdraw', [one.name]),
      disabled: no,
    },
  ];
}
