// One menu for the page: from a button, or where the pointer was right-clicked. Arrows move, letters jump, Escape closes.
import { useEffect, useLayoutEffect, useRef } from 'react';
import { makeStore, useStore } from '../api/store';
import { Kbd } from './Button';
import { Icon, type IconName } from './Icon';
import css from './Menu.module.css';
import { names } from './names';

export interface MenuItem {
  text: string;
  run?: () => void;
  icon?: IconName;
  keys?: string;
  isDanger?: boolean;
  isOn?: boolean;
  /** Why it cannot be chosen. */
  disabled?: string | null | undefined;
  /** A line before it. */
  line?: boolean;
  /** Words only. */
  isTitle?: boolean;
}

interface Shown {
  x: number;
  y: number;
  /** Where it flips to when there is no room below. */
  above: number;
  items: MenuItem[];
  label: string;
}

const shownMenu = makeStore<Shown | null>(null);

/** Opens below an element, or at a point. */
export function showMenu(at: Element | { clientX: number; clientY: number }, label: string, items: MenuItem[]): void {
  if (at instanceof Element) {
    const box = at.getBoundingClientRect();
    shownMenu.set({ x: box.left, y: box.bottom + 4, above: box.top - 4, items, label });
  } else shownMenu.set({ x: at.clientX, y: at.clientY, above: at.clientY, items, label });
}

/** Stands once in the page. */
export function MenuHost() {
  const shown = useStore(shownMenu);
  const ref = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => {
    const menu = ref.current;
    if (!shown || !menu) return undefined;
    const before = document.activeElement;
    menu.showPopover();
    const box = menu.getBoundingClientRect();
    menu.style.left = `${Math.max(4, Math.min(shown.x, innerWidth - box.width - 8))}px`;
    menu.style.top = `${shown.y + box.height > innerHeight - 8 ? Math.max(4, shown.above - box.height) : shown.y}px`;
    menu.querySelector<HTMLElement>('[role^=menuitem]:not(:disabled)')?.focus();
    return () => {
      if (before instanceof HTMLElement && before.isConnected) before.focus();
    };
  }, [shown]);
  useEffect(() => {
    const menu = ref.current;
    const toggled = (event: Event) => {
      if ((event as ToggleEvent).newState === 'closed') shownMenu.set(null);
    };
    menu?.addEventListener('toggle', toggled);
    return () => menu?.removeEventListener('toggle', toggled);
  }, [shown]);
  if (!shown) return null;
  const move = (step: number) => {
    const all = [...ref.current!.querySelectorAll<HTMLElement>('[role^=menuitem]:not(:disabled)')];
    const at = all.indexOf(document.activeElement as HTMLElement);
    all[(at + step + all.length) % all.length]?.focus();
  };
  return (
    <div
      ref={ref}
      popover="auto"
      role="menu"
      aria-label={shown.label}
      className={css.menu}
      onKeyDown={(event) => {
        // The popover closes itself; what lies below is not to answer, too.
        if (event.key === 'Escape') return event.stopPropagation();
        if (event.key === 'ArrowDown') move(1);
        else if (event.key === 'ArrowUp') move(-1);
        else if (event.key === 'Tab') shownMenu.set(null);
        else if (event.key.length === 1 && event.key !== ' ') {
          const found = [...ref.current!.querySelectorAll<HTMLElement>('[role^=menuitem]:not(:disabled)')].find((one) =>
            one.textContent?.toLowerCase().startsWith(event.key.toLowerCase()),
          );
          found?.focus();
        } else return;
        event.preventDefault();
        event.stopPropagation();
      }}
    >
      {shown.items.map((item) =>
        item.isTitle ? (
          <div key={item.text} className={names(css.title, item.line && css.line)} role="presentation">
            {item.text}
          </div>
        ) : (
          <button
            key={item.text}
            type="button"
            role={item.isOn === undefined ? 'menuitem' : 'menuitemcheckbox'}
            aria-checked={item.isOn}
            disabled={Boolean(item.disabled)}
            data-tip={item.disabled}
            className={names(css.item, item.line && css.line, item.isDanger && css.danger)}
            onClick={() => {
              shownMenu.set(null);
              item.run?.();
            }}
          >
            <span className={css.icon}>
              {item.isOn ? <Icon name="check" size={14} /> : item.icon && <Icon name={item.icon} size={14} />}
            </span>
            <span className={css.text}>{item.text}</span>
            {item.keys && <Kbd keys={item.keys} />}
          </button>
        ),
      )}
    </div>
  );
}
