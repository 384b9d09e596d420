// The keyboard: parts of the page answer to their keys while they are on the screen; the command palette lists exactly
// those. Single letters sleep while one types, and can be switched off (WCAG 2.1.4).
import { useEffect, useRef } from 'react';
import { makeStore } from '../api/store';
import { kept } from './kept';
import { KEYS, type Part, type Said } from './keyTable';

export interface Key extends Said {
  run: (event: KeyboardEvent) => void;
  whileTyping: boolean;
}

export const keyMap = makeStore<readonly Key[]>([]);
export const singleLetters = kept<boolean>('single-letters', true);

/** 'Mod+k' for ⌘K and Ctrl-K, 'Shift+Enter', 'j'. */
export function spelled(event: KeyboardEvent): string {
  const key = event.key === ' ' ? 'Space' : event.key;
  const mod = event.metaKey || event.ctrlKey ? 'Mod+' : '';
  const shift = event.shiftKey && (key.length > 1 || mod) ? 'Shift+' : '';
  return mod + (event.altKey ? 'Alt+' : '') + shift + (mod && key.length === 1 ? key.toLowerCase() : key);
}

/** '⌘K' on a Mac, 'Ctrl K' elsewhere. */
export function shown(keys: string): string {
  const isMac = navigator.platform.startsWith('Mac');
  return keys
    .replace('Mod+', isMac ? '⌘' : 'Ctrl ')
    .replace('Shift+', '⇧')
    .replace('Enter', '⏎')
    .replace('Escape', 'Esc')
    .replace('ArrowUp', '↑')
    .replace('ArrowDown', '↓')
    .replace(/(^|\s|⌘|⇧)([a-z])$/, (_, before: string, letter: string) => before + letter.toUpperCase());
}

export function isTyping(target: EventTarget | null): boolean {
  if (!(target instanceof HTMLElement)) return false;
  if (target.isContentEditable || target.tagName === 'TEXTAREA' || target.tagName === 'SELECT') return true;
  return target instanceof HTMLInputElement && !['checkbox', 'radio', 'range', 'button'].includes(target.type);
}

addEventListener('keydown', (event) => {
  if (event.defaultPrevented || event.isComposing) return;
  const pressed = spelled(event);
  const typing = isTyping(event.target);
  if (pressed.length === 1 && !singleLetters.get()) return;
  const isModal = document.querySelector('dialog:modal') !== null;
  // The newest part on the screen answers first.
  for (const key of [...keyMap.get()].reverse()) {
    if (!key.keys.includes(pressed) || (typing && !key.whileTyping) || (isModal && !key.whileTyping)) continue;
    event.preventDefault();
    key.run(event);
    return;
  }
});

type Names<P extends Part> = keyof (typeof KEYS)[P]['keys'] & string;

/** All keys of this part answer while the component is on the screen; null: they sleep. */
export function useKeys<P extends Part>(part: P, runs: Record<Names<P>, (event: KeyboardEvent) => void> | null): void {
  const newest = useRef(runs);
  useEffect(() => {
    newest.current = runs;
  });
  const isAwake = runs !== null;
  useEffect(() => {
    if (!isAwake) return undefined;
    const { group, keys } = KEYS[part];
    const mine: Key[] = Object.entries<readonly string[]>(keys).map(([name, [all = '', does = '', when]]) => ({
      keys: all.split(' '),
      does,
      group,
      run: (event: KeyboardEvent) => newest.current?.[name as Names<P>](event),
      whileTyping: when !== undefined,
    }));
    keyMap.set((all) => [...all, ...mine]);
    return () => keyMap.set((all) => all.filter((key) => !mine.includes(key)));
  }, [part, isAwake]);
}
