// One setting of a new run: its name, what it was, a field that says at once what is wrong or how many runs it makes.
import { type KeyboardEvent, memo } from 'react';
import type { Value } from '../api/types';
import { IconButton, Segmented } from '../parts/Button';
import { showMenu } from '../parts/Menu';
import { names } from '../parts/names';
import css from './Sheet.module.css';
import { preview, readField } from './several';
import { isChanged, type Row } from './rows';
import { spell } from './values';

interface Props {
  row: Row;
  error: string | null;
  warning: string | null;
  isFirst: boolean;
  onText: (key: string, text: string) => void;
  onReset: (key: string) => void;
}

const BOTH = 'true, false';

export const SettingRow = memo(function SettingRow({ row, error, warning, isFirst, onText, onReset }: Props) {
  const changed = isChanged(row);
  const read = readField(row.text, row.kind);
  const many = 'values' in read && read.values.length > 1 ? preview(read.values) : null;
  const says = error ?? warning ?? (row.isRead === false ? 'the script never reads this' : null);
  const id = `setting-${row.key}`;
  const isSwitch = row.kind === 'bool' && ['true', 'false', BOTH].includes(row.text);
  return (
    <div className={names(css.row, changed && css.changed)} role="group" aria-label={row.key}>
      <label htmlFor={id} className={css.key} data-tip={row.help || undefined}>
        {row.key}
        <span className={css.kind}>{row.kind === 'unknown' ? '' : row.kind}</span>
      </label>
      <div className={css.value}>
        {isSwitch ? (
          <Segmented
            label={row.key}
            value={row.text}
            options={[
              { value: 'true', text: 'true' },
              { value: 'false', text: 'false' },
              { value: BOTH, text: 'both', tip: 'One run with each' },
            ]}
            onChange={(text) => onText(row.key, text)}
          />
        ) : (
          <div className={css.field}>
            <input
              id={id}
              className={names(css.input, error && css.wrong)}
              value={row.text}
              placeholder={row.before === undefined ? 'not set' : undefined}
              spellCheck={false}
              autoComplete="off"
              aria-invalid={Boolean(error)}
              aria-describedby={says || many ? `${id}-says` : undefined}
              data-first={isFirst || undefined}
              onFocus={(event) => event.currentTarget.select()}
              onChange={(event) => onText(row.key, event.target.value)}
              onKeyDown={moveBetweenRows}
            />
            {row.choices.length > 0 && (
              <IconButton
                icon="down"
                label={`Choices of ${row.key}`}
                className={css.choices}
                onClick={(event) => showMenu(event.currentTarget, row.key, choiceItems(row, onText))}
              />
            )}
          </div>
        )}
        <span className={css.was}>
          {changed && !row.isAdded && row.before !== undefined && (
            <>
              <span data-tip={`It was ${spell(row.before, row.kind)}`}>← {spell(row.before, row.kind)}</span>
            </>
          )}
          {changed && (
            <IconButton
              icon={row.isAdded ? 'close' : 'again'}
              label={row.isAdded ? `Remove ${row.key}` : `Back to what ${row.key} was`}
              onClick={() => onReset(row.key)}
            />
          )}
        </span>
      </div>
      {(says || many) && (
        <div id={`${id}-says`} className={names(css.says, error ? css.error : says ? css.warning : css.many)}>
          {says ?? many}
        </div>
      )}
    </div>
  );
});

function choiceItems(row: Row, onText: Props['onText']) {
  const items = row.choices.map((choice: Value) => {
    const text = spell(choice, row.kind);
    return { text, isOn: row.text === text, run: () => onText(row.key, text) };
  });
  const all = items.map((item) => item.text).join(', ');
  return items.length < 2
    ? items
    : [
        ...items,
        {
          text: `each of them: ${items.length} runs`,
          isOn: row.text === all,
          line: true,
          run: () => onText(row.key, all),
        },
      ];
}

/** ↑ and ↓ go to the field above and below. */
function moveBetweenRows(event: KeyboardEvent<HTMLInputElement>): void {
  const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
  if (step === undefined || event.altKey || event.metaKey || event.ctrlKey) return;
  const all = [...document.querySelectorAll<HTMLInputElement>(`.${css.rows} .${css.input}`)];
  const next = all[all.indexOf(event.currentTarget) + step];
  if (!next) return;
  event.preventDefault();
  next.focus();
}
