// What the list of keys says of places that are not on the screen, and of what the pointer does.
import type { Key } from './keys';

type Said = Pick<Key, 'keys' | 'does' | 'group'>;

const GROUPS: Record<string, readonly (readonly [string, string])[]> = {
  Runs: [
    ['ArrowDown j', 'Next run'],
    ['ArrowUp k', 'Previous run'],
    ['Enter', 'Open the run'],
    ['Space', 'Select or not'],
    ['s', 'Show only this run (again: all)'],
    ['h', 'Hide from the charts'],
    ['p', 'Pin at the top'],
    ['d', 'Duplicate: a new run with this config'],
    ['w', 'New run from its weights'],
    ['Mod+a', 'Select all that match'],
  ],
  Charts: [
    ['l', 'Log y'],
    ['x', 'X axis: step, time, wall clock, steps since root'],
    [',', 'Smooth less'],
    ['.', 'Smooth more'],
    ['b', 'Band about curves'],
    ['m', 'Grouped: means, or each run'],
    ['f', 'A chart fills the place'],
    ['0', 'Reset the zoom'],
    ['Escape', 'Back from zoom and full charts'],
    ['Drag', 'Zoom to what is dragged over: x, y or both'],
    ['Mod+Wheel', 'Zoom about the pointer'],
    ['Shift+Drag', 'Pan'],
    ['Double-click', 'All of x and y again'],
  ],
  Insight: [['0', 'Clear what is filtered on the axes']],
  Models: [
    ['w', 'New run from these weights'],
    ['Escape', 'Close the checkpoint'],
  ],
  Queue: [['Shift+Space', 'Pause the queue']],
  Run: [['/', 'Search the output']],
};

const OTHERS: readonly Said[] = Object.entries(GROUPS).flatMap(([group, all]) =>
  all.map(([keys, does]) => ({ keys: keys.split(' '), does, group })),
);

/** Those that answer now first, then what there is elsewhere; each once. */
export function allKeys(now: readonly Said[]): Said[] {
  const first = (key: Said, at: number, all: readonly Said[]) =>
    all.findIndex((one) => one.group === key.group && one.does === key.does) === at;
  const rank = (group: string) => (group === 'Everywhere' ? 1 : now.some((key) => key.group === group) ? 0 : 2);
  const isSaid = (one: Said) => now.some((key) => key.group === one.group && key.keys.join() === one.keys.join());
  return [...now, ...OTHERS.filter((one) => !isSaid(one))].filter(first).sort((a, b) => rank(a.group) - rank(b.group));
}
