// What is said above all places, in one line: a lost connection (training does not need us, and what was read stays), and a
// server that has become another. It is never reloaded unasked: something may be half typed.
import { useEffect, useState } from 'react';
import { useStore } from '../api/store';
import { live } from '../live/live';
import { Button } from '../parts/Button';
import css from './ConnectionBar.module.css';
import { isReplaced } from './patiently';

const PATIENCE_MS = 700;

export function ConnectionBar() {
  const { state, since, nextTry } = useStore(live.connection);
  const isOther = useStore(isReplaced);
  const [now, setNow] = useState(0);
  useEffect(() => {
    if (state !== 'lost') return undefined;
    const tick = setInterval(() => setNow(Date.now()), 350);
    return () => clearInterval(tick);
  }, [state]);
  if (isOther)
    return (
      <div className={css.bar} role="status">
        <span>hypertuner was updated: reload this page to go on. What is typed here and not sent is lost then.</span>
        <Button size="small" onClick={() => location.reload()}>
          Reload
        </Button>
      </div>
    );
  // A tab that wakes up reconnects at once: nothing to say then.
  if (state !== 'lost' || now - since < PATIENCE_MS) return <div className={css.none} />;
  const left = Math.max(0, Math.ceil((nextTry - now) / 1000));
  return (
    <div className={css.bar} role="status">
      <span>Not connected: training goes on. {left > 0 ? `Retrying in ${left} s` : 'Retrying …'}</span>
      <Button size="small" onClick={() => live.start()}>
        Retry now
      </Button>
    </div>
  );
}
