// A panel below the button that opens it; a click elsewhere or Escape closes it, and the focus goes back.
import { type ReactNode, useId, useLayoutEffect, useRef, useState } from 'react';
import { Button, type ButtonProps } from './Button';
import css from './Popover.module.css';

/** Closes the panel that an element is in. */
export function closePopover(inside: Element): void {
  inside.closest<HTMLElement>('[popover]')?.hidePopover();
}

export function Popover({
  button,
  label,
  width = 300,
  children,
  ...look
}: {
  button: ReactNode;
  label: string;
  width?: number;
  children: ReactNode;
} & Pick<ButtonProps, 'kind' | 'size' | 'icon' | 'tip'>) {
  const [isOpen, setOpen] = useState(false);
  const box = useRef<HTMLDivElement>(null);
  const opener = useRef<HTMLSpanElement>(null);
  const id = useId();
  useLayoutEffect(() => {
    const panel = box.current!;
    const toggled = (event: Event) => setOpen((event as ToggleEvent).newState === 'open');
    panel.addEventListener('toggle', toggled);
    return () => panel.removeEventListener('toggle', toggled);
  }, []);
  const open = () => {
    const panel = box.current!;
    panel.showPopover();
    const at = opener.current!.getBoundingClientRect();
    const left = Math.max(8, Math.min(at.left, innerWidth - width - 8));
    panel.style.left = `${left}px`;
    panel.style.top = `${at.bottom + 4}px`;
    panel.style.maxHeight = `${innerHeight - at.bottom - 16}px`;
  };
  return (
    <>
      <span ref={opener}>
        <Button
          {...look}
          aria-expanded={isOpen}
          aria-controls={id}
          onClick={() => (isOpen ? box.current!.hidePopover() : open())}
        >
          {button}
        </Button>
      </span>
      <div ref={box} id={id} popover="auto" role="dialog" aria-label={label} className={css.panel} style={{ width }}>
        {isOpen && children}
      </div>
    </>
  );
}
