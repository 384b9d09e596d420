// The starts of a run's script, newest first, and what happened to each.
import { Empty } from '../parts/Empty';
import { bytes, duration, moment } from '../parts/format';
import { StateWord } from '../parts/StateWord';
import css from './Panel.module.css';
import type { Detail } from './useDetail';

export function Attempts({ detail }: { detail: Detail }) {
  if (detail.attempts.length === 0) {
    return (
      <Empty
        title="It has not started yet"
        text={detail.is_waiting ? 'It waits in the queue.' : 'It is a draft: queue it, or run it.'}
        command={`hypertuner run ${detail.row.script ?? 'train.py'}`}
      />
    );
  }
  return (
    <ol className={css.attempts}>
      {[...detail.attempts].reverse().map((one) => {
        const took = one.started_at !== null && one.ended_at !== null ? duration(one.ended_at - one.started_at) : null;
        const facts: [string, string | null][] = [
          ['started', one.started_at === null ? null : moment(one.started_at)],
          ['took', took],
          ['went on from', one.resumed_from],
          ['host', one.host],
          ['process', one.pid === null ? null : String(one.pid)],
          ['GPUs', one.gpus.length ? one.gpus.join(', ') : null],
          ['most memory', one.peak_memory_bytes === null ? null : bytes(one.peak_memory_bytes)],
          ['exit code', one.code === null ? null : String(one.code)],
          ['signal', one.signal],
        ];
        return (
          <li key={one.number}>
            <div className={css.line}>
              <b>Attempt {one.number}</b>
              <StateWord state={one.state} />
            </div>
            {one.reason && <p>{one.reason}</p>}
            {one.cause && one.cause !== one.reason && <p className={css.soft}>{one.cause}</p>}
            <dl>
              {facts
                .filter(([, said]) => said !== null)
                .map(([what, said]) => (
                  <div key={what}>
                    <dt>{what}</dt>
                    <dd>{said}</dd>
                  </div>
                ))}
            </dl>
          </li>
        );
      })}
    </ol>
  );
}
