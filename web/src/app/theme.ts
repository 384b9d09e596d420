// Dark, light, or what the system says. Charts redraw when it changes, because canvas knows no CSS variables.
import { makeStore, useStore } from '../api/store';
import { kept } from './kept';

export type Theme = 'auto' | 'dark' | 'light';
export const theme = kept<Theme>('theme', 'auto');
const system = matchMedia('(prefers-color-scheme: dark)');
const now = (): 'dark' | 'light' =>
  theme.get() === 'auto' ? (system.matches ? 'dark' : 'light') : (theme.get() as 'dark');
export const shownTheme = makeStore<'dark' | 'light'>(now());

function apply(): void {
  document.documentElement.dataset['theme'] = now();
  shownTheme.set(now());
}

/** From here on the page follows the choice and the system. */
export function followTheme(): void {
  apply();
  theme.subscribe(apply);
  system.addEventListener('change', apply);
}

export function useShownTheme(): 'dark' | 'light' {
  return useStore(shownTheme);
}

export function nextTheme(): void {
  theme.set((before) =>
    before === 'auto' ? (shownTheme.get() === 'dark' ? 'light' : 'dark') : before === 'dark' ? 'light' : 'auto',
  );
}
