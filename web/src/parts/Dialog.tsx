// What opens over the page: a modal dialog (native <dialog>: focus stays inside, Escape closes) and a sheet at the
// right, beside which the page stays visible and live.
import { type ReactNode, useEffect, useId, useRef } from 'react';
import { useKeys } from '../app/keys';
import { IconButton } from './Button';
import css from './Dialog.module.css';
import { names } from './names';

export interface DialogProps {
  title: ReactNode;
  onClose: () => void;
  children: ReactNode;
  footer?: ReactNode;
  width?: number;
  /** No title bar, for the command palette; `title` still names it. */
  bare?: boolean;
}

export function Dialog({ title, onClose, children, footer, width = 560, bare = false }: DialogProps) {
  const ref = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => {
    const dialog = ref.current!;
    dialog.showModal();
    // Where one can type, one types; else the focus is the dialog's, not its button to close.
    (
      dialog.querySelector<HTMLElement>('[data-body] :is(input[type="text"], input:not([type]), textarea)') ?? dialog
    ).focus();
    return () => dialog.close();
  }, []);
  return (
    <dialog
      ref={ref}
      tabIndex={-1}
      className={css.dialog}
      style={{ width }}
      aria-labelledby={id}
      onCancel={(event) => {
        event.preventDefault();
        onClose();
      }}
      onPointerDown={(event) => {
        if (event.target === ref.current) onClose();
      }}
    >
      <div className={css.inner}>
        <header className={bare ? 'unseen' : css.header}>
          <h2 id={id}>{title}</h2>
          {!bare && <IconButton icon="close" label="Close" keys="Escape" onClick={onClose} />}
        </header>
        <div data-body className={names(css.body, bare && css.bare)}>
          {children}
        </div>
        {footer && <footer className={css.footer}>{footer}</footer>}
      </div>
    </dialog>
  );
}

/** A sheet at the right edge. It takes the focus when it opens and gives it back; Escape closes it. */
export function Sheet({ title, onClose, children, footer, width = 520 }: DialogProps) {
  const ref = useRef<HTMLElement>(null);
  const id = useId();
  useKeys('sheet', { close: onClose });
  useEffect(() => {
    const before = document.activeElement;
    const first = ref.current?.querySelector<HTMLElement>('[data-autofocus]') ?? ref.current;
    first?.focus();
    return () => {
      if (before instanceof HTMLElement && before.isConnected) before.focus();
    };
  }, []);
  return (
    <section ref={ref} role="dialog" aria-labelledby={id} tabIndex={-1} className={css.sheet} style={{ width }}>
      <div className={css.header}>
        <h2 id={id}>{title}</h2>
        <IconButton icon="close" label="Close" keys="Escape" onClick={onClose} />
      </div>
      <div className={css.body}>{children}</div>
      {footer && <div className={css.footer}>{footer}</div>}
    </section>
  );
}
