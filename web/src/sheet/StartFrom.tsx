// Where a new run begins: from scratch, from the weights of a checkpoint, or as a fork that goes on with all of it.
import { useId, useState } from 'react';
import { useGet } from '../api/use';
import type { Schema } from '../api/types';
import { Segmented } from '../parts/Button';
import { bytes, number } from '../parts/format';
import { names } from '../parts/names';
import css from './Sheet.module.css';
import type { Checked } from './useCheck';

const MOST_TOLD = 4;

export type How = 'scratch' | 'weights' | 'fork';

interface Props {
  how: How;
  parent: string;
  onChange: (how: How, parent: string) => void;
  checked: Checked | null;
}

export function StartFrom({ how, parent, onChange, checked }: Props) {
  const id = useId();
  const [isAsked, setAsked] = useState(how !== 'scratch');
  const found = useGet<Schema<'CheckpointsPage'>>(isAsked ? '/api/checkpoints' : null, { limit: 300 });
  const rows = (found.answer?.rows ?? []).filter((row) => row.problem === null && (how !== 'fork' || row.has_training));
  const choose = (next: How) => {
    setAsked(true);
    onChange(next, parent);
  };
  return (
    <section className={css.start} aria-label="Start from">
      <div className={css.startLine}>
        <span className={css.label}>Start from</span>
        <Segmented
          label="Start from"
          value={how}
          onChange={choose}
          options={[
            { value: 'scratch', text: 'scratch' },
            {
              value: 'weights',
              text: 'weights of',
              tip: 'A new run that begins with the weights of a checkpoint; optimizer and steps begin anew',
            },
            {
              value: 'fork',
              text: 'fork of',
              tip: 'A new run that goes on where a checkpoint was: weights, optimizer, step and all',
            },
          ]}
        />
        {how !== 'scratch' && (
          <>
            <label htmlFor={id} className="unseen">
              Checkpoint
            </label>
            <input
              id={id}
              className={css.input}
              list={`${id}-list`}
              value={parent}
              placeholder="run@best"
              spellCheck={false}
              autoComplete="off"
              onChange={(event) => onChange(how, event.target.value.trim())}
            />
            <datalist id={`${id}-list`}>
              {rows.map((row) => (
                <option key={row.reference} value={row.reference}>
                  {said(row)}
                </option>
              ))}
            </datalist>
          </>
        )}
      </div>
      {how !== 'scratch' && parent !== '' && checked?.fit && <Fit fit={checked.fit} />}
      {how !== 'scratch' && parent === '' && (
        <p className={css.hint}>
          {found.answer && rows.length === 0
            ? 'No run has saved a checkpoint that can be started from yet.'
            : 'Choose a checkpoint, or type run@best.'}
        </p>
      )}
    </section>
  );
}

function said(row: Schema<'CheckpointRow'>): string {
  const [metric, value] = Object.entries(row.metrics)[0] ?? [];
  const words = [
    row.is_best && 'best',
    row.is_last && 'last',
    metric && typeof value === 'number' && `${metric} ${number(value)}`,
    bytes(row.nbytes),
  ];
  return words.filter(Boolean).join(' · ');
}

function Fit({ fit }: { fit: Schema<'FitReport'> }) {
  const kind = { yes: css.fits, partly: css.partly, no: css.misfits, unknown: css.hint }[fit.fits];
  const sign = fit.is_pending ? '…' : { yes: '✓', partly: '⚠', no: '✕', unknown: '?' }[fit.fits];
  return (
    <div className={names(css.fit, kind)} role="status">
      <span>
        <span aria-hidden="true">{sign} </span>
        {fit.message}
      </span>
      {fit.mismatched.length > 0 && (
        <ul>
          {fit.mismatched.slice(0, MOST_TOLD).map((one) => (
            <li key={one.tensor}>
              <code>{one.tensor}</code> [{one.parent.join(', ')}] → [{one.here.join(', ')}]
              {one.because && (
                <>
                  {' '}
                  because of <code>{one.because}</code>
                </>
              )}
            </li>
          ))}
          {fit.mismatched.length > MOST_TOLD && <li>and {fit.mismatched.length - MOST_TOLD} more</li>}
        </ul>
      )}
    </div>
  );
}
