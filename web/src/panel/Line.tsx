// One line of output with its colours; what it says is text, never markup.
import { memo } from 'react';
import { names } from '../parts/names';
import css from './Line.module.css';
import { type Span, isTrouble, spansOf } from './ansi';

/** Longer lines are cut on the screen: a browser takes seconds for a line of a megabyte. */
const LONGEST = 2000;

export const Line = memo(function Line({
  text,
  number,
  isFound,
  find,
}: {
  text: string;
  number?: number;
  isFound?: boolean;
  find?: string;
}) {
  const spans = spansOf(text.length > LONGEST * 4 ? text.slice(0, LONGEST * 4) : text);
  let room = LONGEST;
  const shown: Span[] = [];
  for (const span of spans) {
    if (room <= 0) break;
    shown.push(span.text.length > room ? { ...span, text: span.text.slice(0, room) } : span);
    room -= span.text.length;
  }
  return (
    <div className={names(css.line, isFound && css.found, isTrouble(text) && css.trouble)}>
      {number !== undefined && <span className={css.number}>{number.toLocaleString('en-US')}</span>}
      <span className={css.text}>
        {shown.map((span, at) => (
          <span
            key={at}
            className={names(
              span.colour !== null && css[`f${span.colour}`],
              span.background !== null && css[`b${span.background}`],
              span.isBold && css.bold,
              span.isDim && css.dim,
              span.isItalic && css.italic,
              span.isUnderlined && css.underlined,
            )}
          >
            {find ? marked(span.text, find) : span.text}
          </span>
        ))}
        {room <= 0 && <span className={css.cut}> … the line goes on; download the output for all of it</span>}
      </span>
    </div>
  );
});

function marked(text: string, find: string) {
  const parts: (string | { hit: string })[] = [];
  const lower = text.toLowerCase();
  const wanted = find.toLowerCase();
  let from = 0;
  for (let at = lower.indexOf(wanted); at >= 0 && parts.length < 100; at = lower.indexOf(wanted, from)) {
    parts.push(text.slice(from, at), { hit: text.slice(at, at + wanted.length) });
    from = at + wanted.length;
  }
  if (parts.length === 0) return text;
  parts.push(text.slice(from));
  return parts.map((part, at) => (typeof part === 'string' ? part : <mark key={at}>{part.hit}</mark>));
}
