// The filter of all places, in the language of the command line: completed as one types, wrong where it is wrong.
import { type ReactNode, useEffect, useId, useRef, useState } from 'react';
import { useGet } from '../api/use';
import type { Completions } from '../api/types';
import { IconButton } from '../parts/Button';
import { Icon } from '../parts/Icon';
import { count } from '../parts/format';
import { names } from '../parts/names';
import css from './QueryBar.module.css';
import { useKeys } from './keys';
import { changeView, useView } from './view';

/** `matched` and `total`: how many runs it leaves. `children`: the place's own tools, at the right. */
export function QueryBar({
  matched,
  total,
  children,
}: {
  matched?: number | null;
  total?: number | null;
  children?: ReactNode;
}) {
  const [view] = useView('query');
  const input = useRef<HTMLInputElement>(null);
  const id = useId();
  const [text, setText] = useState(view.query);
  /** The query as this bar knows it: what it said itself, one may have typed on since. */
  const known = useRef(view.query);
  const say = (query: string, replace = false) => {
    known.current = query;
    changeView({ query }, replace);
  };
  const [asked, setAsked] = useState({ query: view.query, position: 0 });
  const [isOpen, setOpen] = useState(false);
  const [at, setAt] = useState(-1);
  const [hasFocus, setFocus] = useState(false);
  const read = useGet<Completions>(hasFocus || view.query ? '/api/complete' : null, asked);
  const isWaiting = read.isLoading;
  const isFresh = asked.query === text && !isWaiting;
  const completions = hasFocus && isOpen && isFresh ? (read.answer?.completions ?? []).slice(0, 12) : [];
  // While something can be completed, it is not wrong yet.
  const error = isFresh && completions.length === 0 ? (read.answer?.error ?? null) : null;

  useEffect(() => {
    // One question at a time: what was typed meanwhile is the next.
    if (!isWaiting) setAsked({ query: text, position: input.current?.selectionStart ?? text.length });
  }, [text, isWaiting]);
  useEffect(() => {
    if (known.current !== view.query) {
      // Somebody else changed it: a link, the back button, a brush.
      known.current = view.query;
      setText(view.query);
    } else if (isFresh && read.answer && !read.answer.error && text.trim() !== view.query) {
      // A query is taken over as soon as it is right.
      say(text.trim(), true);
    }
  }, [isFresh, read.answer, text, view.query]);

  const take = (index: number) => {
    const chosen = completions[index];
    if (!chosen) return;
    const next = text.slice(0, chosen.start) + chosen.text + text.slice(chosen.end);
    setText(next);
    setAt(-1);
    const caret = chosen.start + chosen.text.length;
    requestAnimationFrame(() => input.current?.setSelectionRange(caret, caret));
  };
  const clear = () => {
    setText('');
    say('');
  };
  useKeys('query', {
    focus: () => {
      input.current?.focus();
      input.current?.select();
    },
  });

  return (
    <div className={css.bar}>
      <div className={names(css.box, error && css.wrong)}>
        <Icon name="search" size={14} />
        <div className={css.field}>
          <input
            ref={input}
            value={text}
            placeholder="Filter: loss < 0.4 and lr > 1e-4"
            aria-label="Filter runs"
            role="combobox"
            aria-expanded={completions.length > 0}
            aria-controls={`${id}-list`}
            aria-activedescendant={at >= 0 ? `${id}-${at}` : undefined}
            aria-invalid={error !== null}
            aria-describedby={error ? `${id}-error` : undefined}
            autoComplete="off"
            autoCapitalize="off"
            spellCheck={false}
            onFocus={() => setFocus(true)}
            onBlur={() => {
              setFocus(false);
              setOpen(false);
            }}
            onChange={(event) => {
              setText(event.target.value);
              setOpen(true);
              setAt(-1);
            }}
            onKeyDown={(event) => {
              if (event.key === 'ArrowDown' && !isOpen) setOpen(true);
              else if (event.key === 'ArrowDown') setAt(Math.min(at + 1, completions.length - 1));
              else if (event.key === 'ArrowUp') setAt(Math.max(at - 1, -1));
              else if (event.key === 'Tab' && completions.length && !event.shiftKey) take(Math.max(at, 0));
              else if (event.key === 'Enter' && at >= 0) take(at);
              else if (event.key === 'Enter' || event.key === 'Escape') {
                if (isOpen && completions.length) setOpen(false);
                else input.current?.blur();
                if (event.key === 'Enter' && !error) say(text.trim());
              } else return;
              event.preventDefault();
              event.stopPropagation();
            }}
          />
          {error && error.position !== null && error.position !== undefined && (
            <div className={css.pointer} aria-hidden="true">
              {' '.repeat(Math.min(error.position, text.length))}
              <b>{text[error.position] ?? ' '}</b>
            </div>
          )}
        </div>
        {text === '' ? <kbd>/</kbd> : <IconButton icon="close" label="Clear the filter" onClick={clear} />}
        {completions.length > 0 && (
          <div id={`${id}-list`} role="listbox" aria-label="Completions" className={css.list}>
            {completions.map((one, index) => (
              <div
                key={`${one.kind} ${one.text}`}
                id={`${id}-${index}`}
                role="option"
                aria-selected={index === at}
                className={names(css.choice, index === at && css.chosen)}
                onPointerDown={(event) => {
                  event.preventDefault();
                  take(index);
                }}
              >
                <code>{one.text}</code>
                <span>{one.hint}</span>
              </div>
            ))}
          </div>
        )}
        {error && completions.length === 0 && (
          <div id={`${id}-error`} role="alert" className={css.error}>
            {error.message}
          </div>
        )}
      </div>
      <span className={css.matched} aria-live="polite">
        {typeof matched === 'number' && typeof total === 'number' && (
          <>
            {matched === total ? (
              <b>{count(total)}</b>
            ) : (
              <>
                <b>{count(matched)}</b> of {count(total)}
              </>
            )}{' '}
            {total === 1 ? 'run' : 'runs'}
          </>
        )}
      </span>
      <div className={css.tools}>{children}</div>
    </div>
  );
}
