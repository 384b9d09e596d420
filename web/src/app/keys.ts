// The keyboard: parts of the page say which keys they answer to while they are on the screen; `?` and the command
// palette list exactly those. Single letters sleep while one types, and can be switched off (WCAG 2.1.4).
import { useEffect, useRef } from 'react';
import { makeStore } from '../api/store';
import { kept } from './kept';

export interface Key {
  /** 'n', 'Shift+N', 'Mod+k', 'Escape', '/'. */
  keys: string[];
  does: string;
  group: string;
  run: (event: KeyboardEvent) => void;
  /** Also while one types. */
  whileTyping?: boolean;
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

/** These keys answer while the component is on the screen. */
export function useKeys(keys: readonly Key[]): void {
  const newest = useRef(keys);
  useEffect(() => {
    newest.current = keys;
  });
  const names = keys.map((key) => `${key.keys.join(' ')}=${key.does}`).join('\n');
  useEffect(() => {
    const mine = newest.current.map((key, index) => ({
      ...key,
      run: (event: KeyboardEvent) => newest.current[index]?.run(event),
    }));
    keyMap.set((all) => [...all, ...mine]);
    return () => keyMap.set((all) => all.filter((key) => !mine.includes(key)));
  }, [names]);
}
