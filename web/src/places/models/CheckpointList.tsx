// The checkpoints of all runs as rows, sorted by any of their columns.
import type { KeyboardEvent } from 'react';
import type { Value } from '../../api/types';
import { openNewRun } from '../../app/view';
import { ago, bytes, count, exactValue, moment, value } from '../../parts/format';
import { showMenu } from '../../parts/Menu';
import { names } from '../../parts/names';
import { RunMark } from '../../parts/RunMark';
import { VirtualList } from '../../parts/VirtualList';
import css from './Models.module.css';
import { checkpointItems } from './doing';
import type { CheckpointColumn } from './columns';
import type { Checkpoints } from './useCheckpoints';

/** Columns beside an open model. */
const MOST_BESIDE = 2;

interface Props {
  pages: Checkpoints;
  columns: readonly CheckpointColumn[];
  sort: string;
  isReversed: boolean;
  onSort: (name: string) => void;
  model: string | null;
  onModel: (reference: string | null, replace?: boolean) => void;
}

export function CheckpointList({ pages, columns: chosen, sort, isReversed, onSort, model, onModel }: Props) {
  const shown = model ? chosen.slice(0, MOST_BESIDE) : chosen;
  const each = shown.map(() => `minmax(${model ? 64 : 72}px, 1fr)`).join(' ');
  // Beside an open model, whose size is said there, it is a list to go along.
  const columns = model
    ? `16px minmax(90px, 1.4fr) 48px minmax(64px, 1fr) ${each} 56px`
    : `16px minmax(100px, 1.4fr) 64px minmax(112px, 1fr) ${each} 60px 60px`;
  const head = (name: string, text: string, isNumber = false) => (
    <button
      type="button"
      className={names(css.headCell, isNumber && css.right)}
      aria-label={`Sort by ${text}`}
      aria-pressed={sort === name}
      data-tip={`Sort by ${text}`}
      onClick={() => onSort(name)}
    >
      {text}
      {sort === name && <span aria-hidden="true">{isReversed ? ' ▴' : ' ▾'}</span>}
    </button>
  );
  const move = (event: KeyboardEvent, index: number) => {
    const step = { ArrowDown: 1, ArrowUp: -1, j: 1, k: -1 }[event.key];
    const row = step === undefined ? undefined : pages.row(index + step);
    if (!row) return;
    event.preventDefault();
    if (model) onModel(row.reference, true);
    event.currentTarget.parentElement?.querySelector<HTMLElement>(`[data-index="${index + step!}"]`)?.focus();
  };
  return (
    <div className={css.list}>
      <div className={css.listHead} style={{ gridTemplateColumns: columns }}>
        <span />
        {head('run', 'run')}
        {head('step', 'step', true)}
        <span />
        {shown.map((column) => (
          <span key={column.id} className={css.right}>
            {head(column.sort, column.key, true)}
          </span>
        ))}
        {!model && head('size', 'size', true)}
        {head('saved_at', 'saved', true)}
      </div>
      <VirtualList
        label="Checkpoints"
        className={css.listBody}
        count={pages.matched ?? 0}
        rowHeight={28}
        onRange={pages.need}
      >
        {(index) => {
          const row = pages.row(index);
          if (!row) return <div key={index} className={css.row} />;
          const run = pages.run(row.run);
          return (
            <div
              key={row.reference}
              data-index={index}
              role="button"
              tabIndex={0}
              aria-pressed={row.reference === model}
              aria-label={`${row.run} at step ${row.step}`}
              className={names(css.row, row.reference === model && css.chosen, row.problem !== null && css.broken)}
              style={{ gridTemplateColumns: columns }}
              onClick={() => onModel(row.reference === model ? null : row.reference, model !== null)}
              onContextMenu={(event) => {
                event.preventDefault();
                showMenu(event, row.reference, checkpointItems(row));
              }}
              onKeyDown={(event) => {
                if (event.target !== event.currentTarget || event.metaKey || event.ctrlKey || event.altKey) return;
                if (event.key === 'Enter' || event.key === ' ') onModel(row.reference);
                else if (event.key === 'w') openNewRun({ run: row.run, parent: row.reference });
                else return move(event, index);
                event.preventDefault();
              }}
            >
              {run ? <RunMark colour={run.colour} mark={run.mark} /> : <span />}
              <span className={css.name}>{row.run}</span>
              <span className={css.right}>{count(row.step)}</span>
              <span className={css.roles}>
                {row.is_best && <b>best</b>}
                {row.is_last && <span>last</span>}
                {row.is_pinned && <span>pinned</span>}
                {!model && row.children.length > 0 && (
                  <span data-tip={row.children.join(', ')}>
                    {row.children.length === 1 ? '1 child' : `${row.children.length} children`}
                  </span>
                )}
                {row.problem && <span className={css.bad}>cannot be read</span>}
              </span>
              {shown.map(({ id, key, isSetting }) => {
                const cell = (isSetting ? run?.config[key] : row.metrics[key]) as Value | undefined;
                return (
                  <span key={id} className={css.right} data-tip={exactValue(cell)}>
                    {value(cell)}
                  </span>
                );
              })}
              {!model && <span className={css.right}>{bytes(row.nbytes)}</span>}
              <span
                className={names(css.right, css.soft)}
                data-tip={row.saved_at === null ? undefined : moment(row.saved_at)}
              >
                {row.saved_at === null ? '' : ago(row.saved_at)}
              </span>
            </div>
          );
        }}
      </VirtualList>
    </div>
  );
}
