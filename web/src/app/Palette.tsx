// The command palette: every key's command, the places, and runs by name.
import { useMemo, useState } from 'react';
import { useGet } from '../api/use';
import { useStore } from '../api/store';
import type { RunsPage } from '../api/types';
import { Kbd } from '../parts/Button';
import { Dialog } from '../parts/Dialog';
import { RunMark } from '../parts/RunMark';
import { StateWord } from '../parts/StateWord';
import { names } from '../parts/names';
import css from './Palette.module.css';
import { keyMap } from './keys';
import { openRun } from './view';

/** What is typed may be any part of a run's name; quotes are left out, so that it stays one string of the query. */
const asQuery = (text: string) => `"${text.replace(/["\\]/g, '')}" in name`;

export function Palette({ onClose }: { onClose: () => void }) {
  const [text, setText] = useState('');
  const [at, setAt] = useState(0);
  const keys = useStore(keyMap);
  const found = useGet<RunsPage>(text.trim().length > 1 ? '/api/runs' : null, {
    query: asQuery(text.trim()),
    limit: 8,
  });
  const choices = useMemo(() => {
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    const commands = keys
      .filter((key, index) => keys.findIndex((one) => one.does === key.does) === index)
      .filter((key) => words.every((word) => key.does.toLowerCase().includes(word)))
      .map((key) => ({ id: key.does, run: () => key.run(new KeyboardEvent('keydown')), key, row: null }));
    const rows = text.trim().length > 1 ? (found.answer?.rows ?? []) : [];
    return [...rows.map((row) => ({ id: row.name, run: () => openRun(row.name), key: null, row })), ...commands];
  }, [text, keys, found.answer]);
  const chosen = Math.min(at, choices.length - 1);
  const choose = (index: number) => {
    onClose();
    setTimeout(() => choices[index]?.run());
  };
  return (
    <Dialog title="Commands" bare onClose={onClose}>
      <input
        className={css.input}
        role="combobox"
        aria-expanded="true"
        aria-controls="palette"
        aria-activedescendant={choices[chosen] ? `palette-${chosen}` : undefined}
        aria-label="Command or run"
        placeholder="A command, or the name of a run"
        autoFocus
        value={text}
        onChange={(event) => {
          setText(event.target.value);
          setAt(0);
        }}
        onKeyDown={(event) => {
          if (event.key === 'ArrowDown') setAt(Math.min(chosen + 1, choices.length - 1));
          else if (event.key === 'ArrowUp') setAt(Math.max(chosen - 1, 0));
          else if (event.key === 'Enter') choose(chosen);
          else return;
          event.preventDefault();
        }}
      />
      <div id="palette" role="listbox" aria-label="Commands and runs" className={css.list}>
        {choices.map((choice, index) => (
          <div
            key={choice.id}
            id={`palette-${index}`}
            role="option"
            aria-selected={index === chosen}
            tabIndex={-1}
            className={names(css.choice, index === chosen && css.chosen)}
            ref={index === chosen ? (node) => node?.scrollIntoView({ block: 'nearest' }) : undefined}
            onPointerMove={() => setAt(index)}
            onClick={() => choose(index)}
          >
            {choice.row ? (
              <>
                <RunMark colour={choice.row.colour} mark={choice.row.mark} />
                <span className={css.text}>{choice.row.name}</span>
                <span className={css.label}>{choice.row.label}</span>
                <StateWord state={choice.row.state} />
              </>
            ) : (
              <>
                <span className={css.text}>{choice.key.does}</span>
                <Kbd keys={choice.key.keys[0]!} />
              </>
            )}
          </div>
        ))}
        {choices.length === 0 && <div className={css.none}>No command or run has this in its name.</div>}
      </div>
    </Dialog>
  );
}
