// What runs, what waits, and the machine that does it.
import { useMemo, useState } from 'react';
import { send } from '../api/ask';
import { may, session, whyNot } from '../api/session';
import { useStore } from '../api/store';
import type { QueueView } from '../api/types';
import { complain } from '../app/actions';
import { useKeys } from '../app/keys';
import { useRows } from '../app/rows';
import { openNewRun } from '../app/view';
import { queueNow } from '../live/now';
import { Button } from '../parts/Button';
import { Empty } from '../parts/Empty';
import { plural } from '../parts/format';
import { Machine } from './queue/Machine';
import css from './queue/Queue.module.css';
import { outlook } from './queue/outlook';
import { Running } from './queue/Running';
import { Waiting } from './queue/Waiting';

/** Runs that wait beyond so many show no mark. */
const MOST_MARKED = 400;

export function Queue() {
  const queue = useStore(queueNow);
  const names = useMemo(
    () => (queue ? [...queue.running, ...queue.waiting].slice(0, MOST_MARKED).map((one) => one.name) : []),
    [queue],
  );
  const known = useRows(names);
  const rows = useMemo(() => new Map(known.map((row) => [row.name, row])), [known]);
  const who = useStore(session);
  const mayRun = may(who, 'run');
  const no = whyNot(who, 'edit');
  const ask = async (route: string, body: unknown) => {
    try {
      queueNow.set(await send<QueueView>(`/api/queue/${route}`, body));
    } catch (cause) {
      complain(cause);
    }
  };
  useKeys('queue', queue && mayRun ? { pause: () => void ask('pause', { paused: !queue.is_paused }) } : null);
  return (
    <div className={css.place}>
      <div className={css.work}>
        {queue && <Bar queue={queue} mayRun={mayRun} ask={ask} />}
        {queue && queue.running.length + queue.waiting.length === 0 ? (
          <Empty
            title="Nothing runs and nothing waits"
            text="A run with several values in a field, or with several seeds, is queued as many runs. The same from a terminal:"
            command="hypertuner run train.py lr=0.1,0.01 --seeds 3 --queue"
          >
            <Button kind="primary" disabled={no !== null} tip={no ?? undefined} onClick={() => openNewRun()}>
              New run
            </Button>
          </Empty>
        ) : (
          queue && (
            <>
              <Running running={queue.running} rows={rows} mayRun={mayRun} />
              <Waiting queue={queue} rows={rows} mayRun={mayRun} onMove={(move) => void ask('move', move)} />
            </>
          )
        )}
      </div>
      <Machine />
    </div>
  );
}

interface BarProps {
  queue: QueueView;
  mayRun: boolean;
  ask: (route: string, body: unknown) => Promise<void>;
}

function Bar({ queue, mayRun, ask }: BarProps) {
  const elsewhere = queue.drained_by !== 'this server';
  return (
    <div className={css.bar}>
      <Button
        icon={queue.is_paused ? 'play' : 'pause'}
        kind={queue.is_paused ? 'primary' : 'plain'}
        disabled={!mayRun}
        tip={queue.is_paused ? 'Runs that wait are started again' : 'Nothing new is started; what runs goes on'}
        keys="Shift+Space"
        onClick={() => void ask('pause', { paused: !queue.is_paused })}
      >
        {queue.is_paused ? 'Go on' : 'Pause'}
      </Button>
      <Slots
        key={queue.slots}
        slots={queue.slots}
        disabled={!mayRun}
        onChange={(slots) => void ask('slots', { slots })}
      />
      <span className={css.soft} role="status">
        {queue.is_paused && <b>Paused. </b>}
        {plural(queue.running.length, 'run')} running, {queue.waiting.length} waiting
        {outlook(queue)}
      </span>
      <span className={css.grow} />
      <span className={elsewhere && queue.drained_by === 'nobody' ? css.warn : css.soft} data-tip={queue.drainer}>
        {queue.drained_by === 'nobody' ? 'Nobody starts these runs now' : `started by ${queue.drained_by}`}
      </span>
    </div>
  );
}

function Slots({ slots, disabled, onChange }: { slots: number; disabled: boolean; onChange: (slots: number) => void }) {
  const [text, setText] = useState(String(slots));
  const done = () => {
    const asked = Math.round(Number(text));
    if (asked >= 1 && asked <= 1024 && asked !== slots) onChange(asked);
    else setText(String(slots));
  };
  return (
    <label className={css.slots} data-tip="How many runs at once">
      at once
      <input
        type="number"
        min={1}
        max={1024}
        value={text}
        disabled={disabled}
        onChange={(event) => setText(event.target.value)}
        onBlur={done}
        onKeyDown={(event) => event.key === 'Enter' && done()}
      />
    </label>
  );
}
