// Tags and the note of a run, changed where they stand.
import { useState } from 'react';
import { send } from '../api/ask';
import { may, session } from '../api/session';
import { useStore } from '../api/store';
import type { NotesChange, RunRow } from '../api/types';
import { actionsDone, complain } from '../app/actions';
import { names } from '../parts/names';
import css from './Panel.module.css';

async function change(name: string, what: Partial<NotesChange>): Promise<void> {
  try {
    await send(`/api/runs/${encodeURIComponent(name)}/notes`, what, 'PATCH');
    actionsDone.set((n) => n + 1);
  } catch (cause) {
    complain(cause);
  }
}

export function Notes({ row }: { row: RunRow }) {
  const mayEdit = may(useStore(session), 'edit');
  return (
    <div className={css.notes}>
      {row.tags.map((tag) => (
        <span key={tag} className={css.tag}>
          {tag}
          {mayEdit && (
            <button
              type="button"
              aria-label={`Remove the tag ${tag}`}
              onClick={() => void change(row.name, { tags: row.tags.filter((one) => one !== tag) })}
            >
              ×
            </button>
          )}
        </span>
      ))}
      {mayEdit && <AddTag row={row} />}
      <Note key={row.note} row={row} mayEdit={mayEdit} />
    </div>
  );
}

function AddTag({ row }: { row: RunRow }) {
  const [text, setText] = useState<string | null>(null);
  if (text === null) {
    return (
      <button type="button" className={css.add} onClick={() => setText('')}>
        + tag
      </button>
    );
  }
  const done = () => {
    const added = text.split(/[\s,]+/).filter((tag) => tag && !row.tags.includes(tag));
    if (added.length) void change(row.name, { tags: [...row.tags, ...added] });
    setText(null);
  };
  return (
    <input
      className={css.tagInput}
      aria-label="New tag"
      autoFocus
      value={text}
      onChange={(event) => setText(event.target.value)}
      onBlur={done}
      onKeyDown={(event) => {
        if (event.key === 'Enter') done();
        if (event.key !== 'Escape') return;
        event.stopPropagation();
        setText(null);
      }}
    />
  );
}

function Note({ row, mayEdit }: { row: RunRow; mayEdit: boolean }) {
  const [text, setText] = useState<string | null>(null);
  if (text === null) {
    return (
      <button
        type="button"
        disabled={!mayEdit}
        className={names(css.note, !row.note && css.add)}
        onClick={() => setText(row.note)}
        data-tip={mayEdit ? 'Change the note' : undefined}
      >
        {row.note || (mayEdit ? '+ note' : '')}
      </button>
    );
  }
  const done = () => {
    if (text !== row.note) void change(row.name, { note: text });
    setText(null);
  };
  return (
    <textarea
      className={css.noteInput}
      aria-label="Note"
      autoFocus
      rows={Math.min(8, text.split('\n').length + 1)}
      value={text}
      onChange={(event) => setText(event.target.value)}
      onBlur={done}
      onKeyDown={(event) => {
        if (event.key === 'Enter' && (event.metaKey || event.ctrlKey)) {
          event.stopPropagation();
          done();
        }
        if (event.key !== 'Escape') return;
        event.stopPropagation();
        setText(null);
      }}
    />
  );
}
