// A setting that neither run nor script has yet.
import { useRef, useState } from 'react';
import { Button } from '../parts/Button';
import css from './Sheet.module.css';
import { type Row, problemOfKey } from './rows';

export function AddSetting({ rows, onAdd }: { rows: readonly Row[]; onAdd: (key: string) => void }) {
  const [key, setKey] = useState<string | null>(null);
  const ref = useRef<HTMLFormElement>(null);
  if (key === null) {
    return (
      <Button size="small" kind="quiet" icon="plus" onClick={() => setKey('')}>
        Add a setting
      </Button>
    );
  }
  const problem = problemOfKey(key.trim(), rows);
  return (
    <form
      ref={ref}
      className={css.add}
      onSubmit={(event) => {
        event.preventDefault();
        if (problem || key.trim() === '') return;
        onAdd(key.trim());
        setKey(null);
        const added = key.trim();
        requestAnimationFrame(() => document.getElementById(`setting-${added}`)?.focus());
      }}
    >
      <input
        className={css.input}
        aria-label="Name of the setting"
        aria-invalid={problem !== null}
        placeholder="name, then ⏎"
        value={key}
        autoFocus
        spellCheck={false}
        onChange={(event) => setKey(event.target.value)}
        onBlur={() => key.trim() === '' && setKey(null)}
      />
      {problem && <span className={css.error}>{problem}</span>}
    </form>
  );
}
