// What was done, with its undo for ten seconds. Not for normal events: those are seen where they happen.
import { useEffect } from 'react';
import { makeStore, useStore } from '../api/store';
import { Button, IconButton } from './Button';
import css from './Toast.module.css';
import { names } from './names';

export interface Toast {
  text: string;
  isBad?: boolean;
  undo?: () => void;
  /** What undo does, where that is not all that the text tells. */
  undoText?: string;
}

const shownToasts = makeStore<readonly (Toast & { id: number })[]>([]);
let last = 0;
const SHOWN_MS = 10_000;

export function toast(one: Toast): void {
  last += 1;
  shownToasts.set((all) => [...all.slice(-2), { ...one, id: last }]);
}

/** Stands once in the page. */
export function ToastHost() {
  const all = useStore(shownToasts);
  return (
    <div className={css.host} role="status" aria-live="polite">
      {all.map((one) => (
        <OneToast key={one.id} {...one} />
      ))}
    </div>
  );
}

function OneToast({ id, text, isBad, undo, undoText = 'Undo' }: Toast & { id: number }) {
  const leave = () => shownToasts.set((all) => all.filter((one) => one.id !== id));
  useEffect(() => {
    const timer = setTimeout(() => shownToasts.set((all) => all.filter((one) => one.id !== id)), SHOWN_MS);
    return () => clearTimeout(timer);
  }, [id]);
  return (
    <div className={names(css.toast, isBad && css.bad)}>
      <span>{text}</span>
      {undo && (
        <Button
          size="small"
          onClick={() => {
            leave();
            undo();
          }}
        >
          {undoText}
        </Button>
      )}
      <IconButton icon="close" label="Dismiss" onClick={leave} />
    </div>
  );
}
