// Runs that the queue has started: how far each is, and when it will be done.
import { act } from '../../app/actions';
import { openRun } from '../../app/view';
import type { RunRow, Schema } from '../../api/types';
import { IconButton } from '../../parts/Button';
import { ago, bytes, count, duration, percent } from '../../parts/format';
import { RunMark } from '../../parts/RunMark';
import css from './Queue.module.css';

interface Props {
  running: readonly Schema<'RunningRun'>[];
  rows: ReadonlyMap<string, RunRow>;
  mayRun: boolean;
}

export function Running({ running, rows, mayRun }: Props) {
  if (running.length === 0) return null;
  return (
    <section aria-label="Running" className={css.running}>
      {running.map((one) => {
        const row = rows.get(one.name);
        const facts = [
          one.step === null ? null : `step ${count(one.step)}`,
          one.started_at === null ? null : `for ${ago(one.started_at).replace('now', 'a moment')}`,
          one.gpus.length ? `GPU ${one.gpus.join(', ')}` : null,
          one.cpu_share === null ? null : `${percent(one.cpu_share)} of a core`,
          one.memory_bytes === null ? null : bytes(one.memory_bytes),
        ];
        return (
          <article key={one.name} className={css.card} aria-label={one.name}>
            <div className={css.cardTop}>
              {row && <RunMark colour={row.colour} mark={row.mark} />}
              <button type="button" className={css.name} onClick={() => openRun(one.name)}>
                {one.name}
              </button>
              <span className={css.label}>{row?.label}</span>
              <span className={css.left}>
                {one.is_stopping
                  ? 'saving, then it stops'
                  : one.left_s === null
                    ? 'no estimate yet'
                    : `about ${duration(one.left_s)} left`}
              </span>
              <IconButton
                icon="stop"
                label={`Stop ${one.name}: it saves first`}
                disabled={!mayRun || one.is_stopping}
                onClick={() => void act('stop', [one.name])}
              />
            </div>
            <div
              className={css.track}
              role="progressbar"
              aria-label={`Progress of ${one.name}`}
              aria-valuemin={0}
              aria-valuemax={100}
              {...(one.share === null ? {} : { 'aria-valuenow': Math.round(one.share * 100) })}
            >
              <div
                className={one.share === null ? css.unknown : css.level}
                style={{ width: `${(one.share ?? 1) * 100}%` }}
              />
            </div>
            <div className={css.facts}>
              <span>{one.share === null ? '' : percent(one.share)}</span>
              <span>{facts.filter(Boolean).join(' · ')}</span>
            </div>
          </article>
        );
      })}
    </section>
  );
}
