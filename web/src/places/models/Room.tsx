// Making room on the disk: what would go is shown before anything goes, and what went lies in the trash.
import { useState } from 'react';
import { send } from '../../api/ask';
import type { ActionDone, Schema } from '../../api/types';
import { useGet } from '../../api/use';
import { actionsDone, complain } from '../../app/actions';
import { Button } from '../../parts/Button';
import { Dialog } from '../../parts/Dialog';
import { Field } from '../../parts/Field';
import { bytes, plural } from '../../parts/format';
import { toast } from '../../parts/Toast';
import { VirtualList } from '../../parts/VirtualList';
import css from './Models.module.css';
import { readSize } from './size';

export function Room({ onClose }: { onClose: () => void }) {
  const whole = useGet<Schema<'CleaningPlan'>>('/api/cleaning');
  const [text, setText] = useState<string | null>(null);
  const [isAsking, setAsking] = useState(false);
  const asked = text ?? (whole.answer ? bytes(whole.answer.storage_bytes / 2) : '');
  const most = readSize(asked);
  const plan = useGet<Schema<'CleaningPlan'>>(most === null ? null : '/api/cleaning', { most_bytes: most });
  const shown = most === null ? null : plan.answer;
  const clean = async () => {
    setAsking(true);
    try {
      const done = await send<ActionDone>('/api/cleaning', { most_bytes: most });
      toast({
        text: [done.message, ...done.failed.map((one) => `${one.name}: ${one.message}`).slice(0, 5)].join('\n'),
        isBad: done.failed.length > 0,
      });
      actionsDone.set((n) => n + 1);
      onClose();
    } catch (cause) {
      complain(cause);
      setAsking(false);
    }
  };
  return (
    <Dialog
      title="Make room"
      onClose={onClose}
      footer={
        <>
          <Button onClick={onClose}>Cancel</Button>
          <Button kind="primary" disabled={!shown || shown.items.length === 0 || isAsking} onClick={() => void clean()}>
            {shown && shown.items.length ? `Move ${bytes(shown.frees_bytes)} into the trash` : 'Nothing to move'}
          </Button>
        </>
      }
    >
      <div className={css.room}>
        <p>
          The storage takes <b>{whole.answer ? bytes(whole.answer.storage_bytes) : '…'}</b>. What is least worth goes
          first: old training state, then checkpoints that are neither best nor last. What is pinned, starred, or needed
          by a child stays.
        </p>
        <Field
          label="Come down to"
          value={asked}
          error={asked && most === null ? 'Write 20 GB, 500 MB or 1.5 TB.' : null}
          onChange={(event) => setText(event.target.value)}
        />
        {shown && (
          <>
            <p role="status">
              {shown.items.length > 0 && `${plural(shown.items.length, 'thing')}: `}
              {shown.message}
            </p>
            {shown.items.length > 0 && (
              <VirtualList label="What would go" className={css.roomList} count={shown.items.length} rowHeight={26}>
                {(at) => {
                  const item = shown.items[at]!;
                  return (
                    <div key={at} className={css.roomRow}>
                      <b>{item.run}</b>
                      <span className={css.soft} data-tip={item.what}>
                        <bdi>{item.what}</bdi>
                      </span>
                      <span>{bytes(item.nbytes)}</span>
                    </div>
                  );
                }}
              </VirtualList>
            )}
          </>
        )}
        {plan.refusal && <p className={css.problem}>{plan.refusal.message}</p>}
      </div>
    </Dialog>
  );
}
