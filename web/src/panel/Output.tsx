// What the script printed: a million lines, following, searching, only errors.
import { type CSSProperties, useCallback, useEffect, useMemo, useRef, useState } from 'react';
import { download, get } from '../api/ask';
import { useStore } from '../api/store';
import type { Schema } from '../api/types';
import { complain } from '../app/actions';
import { useKeys } from '../app/keys';
import { IconButton } from '../parts/Button';
import { Empty } from '../parts/Empty';
import { Checkbox, Select } from '../parts/Field';
import { count, plural } from '../parts/format';
import { type ListHandle, VirtualList } from '../parts/VirtualList';
import { Line } from './Line';
import css from './Panel.module.css';
import { OutputLines } from './outputLines';
import type { Detail } from './useDetail';

export function Output({ detail }: { detail: Detail }) {
  const withOutput = detail.attempts.filter((one) => one.has_output);
  const newest = withOutput[withOutput.length - 1]?.number ?? null;
  const [attempt, setAttempt] = useState<number | null>(null);
  const shown = attempt ?? newest;
  if (shown === null) {
    return (
      <Empty
        title="Nothing was printed"
        text={
          detail.attempts.length
            ? 'Output is kept of runs that hypertuner starts: from here, from the queue, or by this command.'
            : 'This run has not started yet.'
        }
        {...(detail.attempts.length ? { command: `hypertuner run ${detail.row.script ?? 'train.py'}` } : {})}
      />
    );
  }
  return (
    <OfAttempt
      key={shown}
      detail={detail}
      attempt={shown}
      attempts={withOutput.map((one) => one.number)}
      onAttempt={setAttempt}
    />
  );
}

interface Props {
  detail: Detail;
  attempt: number;
  attempts: number[];
  onAttempt: (attempt: number) => void;
}

function OfAttempt({ detail, attempt, attempts, onAttempt }: Props) {
  const name = detail.row.name;
  const output = useMemo(() => new OutputLines(name, attempt), [name, attempt]);
  const { total, leftOut, problem, isKnown } = useStore(output.shown);
  const list = useRef<ListHandle>(null);
  const field = useRef<HTMLInputElement>(null);
  const [isFollowing, setFollowing] = useState(true);
  const [text, setText] = useState('');
  const [isErrors, setErrors] = useState(false);
  // Which match one is at; -1 before the first one is gone to.
  const [at, setAt] = useState(-1);
  const found = useMatches(name, attempt, text, isErrors, total);
  const only = isErrors ? (found?.lines ?? null) : null;
  const rows = only ? only.length : total;

  useEffect(() => {
    output.start();
    return () => output.stop();
  }, [output]);
  useEffect(() => {
    if (isFollowing && !only && total > 0) list.current?.scrollTo(total - 1, 'end');
  }, [isFollowing, total, only]);
  const onRange = useCallback(
    (first: number, last: number) => {
      const wanted: number[] = [];
      for (let row = first; row < last; row++) {
        const number = only ? only[row] : row;
        if (number !== undefined) wanted.push(number);
      }
      output.need(wanted);
    },
    [output, only],
  );
  const go = (step: number) => {
    if (!found?.lines.length) return;
    const from = at < 0 && step < 0 ? 0 : at;
    const next = (from + step + found.lines.length) % found.lines.length;
    setAt(next);
    setFollowing(false);
    list.current?.scrollTo(only ? next : found.lines[next]!, 'middle');
  };
  useKeys('output', { search: () => field.current?.focus() });
  const here = found?.lines[at];
  return (
    <div className={css.output} style={{ '--number': `${count(total).length + 4}ch` } as CSSProperties}>
      <div className={css.bar}>
        {attempts.length > 1 && (
          <Select
            quiet
            label="Attempt"
            value={String(attempt)}
            options={attempts.map((one) => ({ value: String(one), text: `attempt ${one}` }))}
            onChange={(one) => onAttempt(Number(one))}
          />
        )}
        <input
          ref={field}
          className={css.find}
          type="search"
          aria-label="Search the output"
          placeholder="Search  /"
          value={text}
          spellCheck={false}
          onChange={(event) => {
            setText(event.target.value);
            setAt(-1);
          }}
          onKeyDown={(event) => {
            if (event.key === 'Enter') {
              event.stopPropagation();
              go(event.shiftKey ? -1 : 1);
            } else if (event.key === 'Escape' && text) {
              event.stopPropagation();
              setText('');
            }
          }}
        />
        {text && (
          <>
            <span className={css.soft} role="status">
              {found
                ? found.total
                  ? `${at < 0 ? '' : `${count(at + 1)} of `}${count(found.total)}${found.is_cut ? '+' : ''}${at < 0 ? ' found' : ''}`
                  : 'nothing found'
                : '…'}
            </span>
            <IconButton icon="up" label="Previous match" disabled={!found?.total} onClick={() => go(-1)} />
            <IconButton icon="down" label="Next match" disabled={!found?.total} onClick={() => go(1)} />
          </>
        )}
        <Checkbox
          label="Errors only"
          checked={isErrors}
          onChange={(on) => {
            setErrors(on);
            setAt(-1);
          }}
        />
        <span className={css.grow} />
        <span className={css.soft}>
          {only ? `${plural(found?.total ?? 0, 'line')} of ${count(total)}` : plural(total, 'line')}
        </span>
        <Checkbox
          label="Follow"
          checked={isFollowing && !isErrors}
          onChange={setFollowing}
          tip="Stays at the end while it prints"
        />
        <IconButton icon="download" label="Download the output" onClick={() => saveAll(detail, attempt)} />
      </div>
      {leftOut && <p className={css.leftOut}>{leftOut}</p>}
      {problem && <p className={css.problem}>{problem}</p>}
      {isKnown && rows === 0 ? (
        <Empty title={isErrors ? 'No line speaks of an error' : 'It has printed nothing yet'} />
      ) : (
        <VirtualList
          label="Output"
          className={css.lines}
          count={rows}
          rowHeight={18}
          handle={list}
          onRange={onRange}
          onScrolled={() => setFollowing(list.current?.isAtEnd() ?? false)}
        >
          {(row) => {
            const number = only ? (only[row] ?? 0) : row;
            return (
              <Line
                key={number}
                text={output.line(number) ?? ''}
                number={number + 1}
                isFound={number === here}
                {...(text ? { find: text } : {})}
              />
            );
          }}
        </VirtualList>
      )}
    </div>
  );
}

/** Which lines a search finds; null where nothing is searched. While a run prints, it is searched again each second. */
function useMatches(
  name: string,
  attempt: number,
  text: string,
  errors: boolean,
  total: number,
): Schema<'OutputMatches'> | null {
  const [found, setFound] = useState<{ of: string; matches: Schema<'OutputMatches'> } | null>(null);
  const [turn, setTurn] = useState(0);
  const isSearching = text.trim() !== '' || errors;
  const of = `${text}\n${errors}`;
  useEffect(() => {
    if (!isSearching) return undefined;
    const timer = setTimeout(() => setTurn(total), 1000);
    return () => clearTimeout(timer);
  }, [total, isSearching]);
  useEffect(() => {
    if (!isSearching) return undefined;
    let isNewest = true;
    const timer = setTimeout(() => {
      get<Schema<'OutputMatches'>>(`/api/runs/${encodeURIComponent(name)}/output/search`, {
        attempt,
        text: text.trim(),
        errors: errors || null,
      })
        .then((matches) => isNewest && setFound({ of, matches }))
        .catch(complain);
    }, 150);
    return () => {
      isNewest = false;
      clearTimeout(timer);
    };
  }, [name, attempt, text, errors, of, isSearching, turn]);
  return isSearching && found?.of === of ? found.matches : null;
}

function saveAll(detail: Detail, attempt: number): void {
  const file = detail.files.find((one) => one.name.startsWith(`attempts/${attempt}/`) && one.name.includes('output'));
  if (file)
    download(`/api/runs/${encodeURIComponent(detail.row.name)}/files/${encodeURIComponent(file.id)}`, { download: 1 });
}
