// What stands in one cell of the table.
import type { RunRow } from '../../api/types';
import { RunMark } from '../../parts/RunMark';
import { StateWord } from '../../parts/StateWord';
import { Icon } from '../../parts/Icon';
import { ago, aligned, bytes, count, duration, exactValue, moment, percent, value } from '../../parts/format';
import { names } from '../../parts/names';
import css from './Runs.module.css';
import { cellOf, parseColumn } from './columns';

export function Cell({ row, column }: { row: RunRow; column: string }) {
  const { kind, key } = parseColumn(column);
  if (kind === 'fact') return <Fact row={row} fact={key} />;
  const { value: given, nonfinite } = cellOf(row, column);
  if (given === undefined && nonfinite === undefined) return <span className={css.none}>–</span>;
  const text = kind === 'metric' && typeof given === 'number' ? aligned(given) : value(given, nonfinite);
  const exact = exactValue(given, nonfinite);
  if (nonfinite !== undefined) return <span className={css.broken}>{text} ⚠</span>;
  return (
    <span className={names(css.value, kind === 'metric' && css.metric)} data-tip={exact === text ? undefined : exact}>
      {text}
    </span>
  );
}

/** Mark, name and star: the name opens the run. */
export function NameCell({
  row,
  isShown,
  isPinned,
  onOpen,
}: {
  row: RunRow;
  isShown: boolean;
  isPinned: boolean;
  onOpen: () => void;
}) {
  return (
    <>
      <RunMark colour={row.colour} mark={row.mark} isFaded={!isShown} />
      <button type="button" tabIndex={-1} className={css.name} data-tip={row.label || undefined} onClick={onOpen}>
        {row.name}
      </button>
      {isPinned && <Icon name="pin" size={12} />}
      {row.starred && (
        <span className={css.star}>
          <Icon name="star" size={12} fill />
        </span>
      )}
    </>
  );
}

function Fact({ row, fact }: { row: RunRow; fact: string }) {
  switch (fact) {
    case 'state':
      return <State row={row} />;
    case 'created':
      return <span data-tip={moment(row.created)}>{ago(row.created)}</span>;
    case 'duration':
      return <>{row.duration_s === null ? '' : duration(row.duration_s)}</>;
    case 'step':
      return <>{row.step === null ? '' : count(row.step)}</>;
    case 'size':
      return <>{bytes(row.nbytes)}</>;
    case 'checkpoints':
      return <>{row.checkpoints || ''}</>;
    case 'tags':
      return (
        <>
          {row.tags.map((tag) => (
            <span key={tag} className={css.tag}>
              {tag}
            </span>
          ))}
        </>
      );
    case 'label':
    case 'note':
    case 'parent':
    case 'script':
    case 'reason': {
      const text = row[fact] ?? '';
      return (
        <span className={css.text} data-tip={text || undefined}>
          {text}
        </span>
      );
    }
    default:
      return null;
  }
}

const BAR_PX = 26;

function State({ row }: { row: RunRow }) {
  // What is usual takes no room: a sign, and the word for whoever asks.
  if (row.state !== 'running')
    return <StateWord state={row.state} short={row.state === 'finished'} tip={row.reason ?? undefined} />;
  if (row.step === null || !row.last_step) return <StateWord state="running" />;
  const share = Math.min(1, row.step / row.last_step);
  const left = row.left_s === null ? '' : `, about ${duration(row.left_s)} left`;
  return (
    <span className={css.progress} data-tip={`running: step ${count(row.step)} of ${count(row.last_step)}${left}`}>
      <StateWord state="running" short tip="" />
      <svg width={BAR_PX} height="4" aria-hidden="true">
        <rect width={BAR_PX} height="4" rx="2" className={css.track} />
        <rect width={BAR_PX * share} height="4" rx="2" className={css.level} />
      </svg>
      {percent(share)}
    </span>
  );
}
