// Runs that stay at the top of the table in this browser.
import { kept } from '../../app/kept';

export const pins = kept<readonly string[]>('pins', []);

export function togglePin(name: string): void {
  pins.set((all) => (all.includes(name) ? all.filter((one) => one !== name) : [...all, name]));
}
