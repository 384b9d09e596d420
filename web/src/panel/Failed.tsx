// Why a run failed: the reason first, what to try, the last lines that it printed, and where in the code it was.
import { openNewRun } from '../app/view';
import type { Schema } from '../api/types';
import { Button } from '../parts/Button';
import { duration, value } from '../parts/format';
import { spell, kindOf } from '../sheet/values';
import { Line } from './Line';
import css from './Panel.module.css';
import type { Detail } from './useDetail';

export function Failed({ detail, failure }: { detail: Detail; failure: Schema<'Failure'> }) {
  const { suggestion } = failure;
  const after = failure.after_s === null ? '' : ` after ${duration(failure.after_s)}`;
  const verb = { stopped: 'Stopped', crashed: 'Crashed', pruned: 'Pruned' }[detail.row.state] ?? 'Failed';
  return (
    <div className={css.failed}>
      <h3>
        {verb}
        {after}: {failure.title}
        {failure.where && <span className={css.where}> ({failure.where})</span>}
      </h3>
      <div className={css.doing}>
        {suggestion && (
          <Button
            kind="primary"
            icon="copy"
            onClick={() =>
              openNewRun({
                run: detail.row.name,
                set: { [suggestion.key]: spell(suggestion.instead, kindOf(suggestion.instead)) },
              })
            }
          >
            Duplicate with {suggestion.key} {value(suggestion.value)} → {value(suggestion.instead)}
          </Button>
        )}
        {!suggestion && (
          <Button icon="copy" onClick={() => openNewRun({ run: detail.row.name })}>
            Duplicate and change a setting
          </Button>
        )}
      </div>
      {failure.last_lines.length > 0 && (
        <>
          <h3>The last {failure.last_lines.length} lines that it printed</h3>
          <div className={css.lines} tabIndex={0} role="region" aria-label="Last lines of output">
            {failure.last_lines.map((line, at) => (
              <Line key={at} text={line} />
            ))}
          </div>
        </>
      )}
      {failure.trace && (
        <details open={failure.last_lines.length === 0}>
          <summary>Traceback</summary>
          <pre className={css.trace} tabIndex={0}>
            {failure.trace}
          </pre>
        </details>
      )}
    </div>
  );
}
