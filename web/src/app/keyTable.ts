// Every key of the page, by the part of it that answers to it. Parts take their keys from here (`useKeys`), so that `?`
// says of places that are not on the screen what they will do when they are.

/** Keys apart by spaces: 'n', 'Shift+N', 'Mod+k', 'Escape', '/'. */
type Entry = readonly [keys: string, does: string, when?: 'while typing'];

export const KEYS = {
  table: {
    group: 'Runs',
    keys: {
      next: ['ArrowDown j', 'Next run'],
      previous: ['ArrowUp k', 'Previous run'],
      open: ['Enter', 'Open the run'],
      select: ['Space', 'Select or not'],
      only: ['s', 'Show only this run (again: all)'],
      hide: ['h', 'Hide from the charts'],
      pin: ['p', 'Pin at the top'],
      duplicate: ['d', 'Duplicate: a new run with this config'],
      fromWeights: ['w', 'New run from its weights'],
      all: ['Mod+a', 'Select all that match'],
    },
  },
  charts: {
    group: 'Charts',
    keys: {
      logY: ['l', 'Log y'],
      x: ['x', 'X axis: step, time, wall clock, steps since root'],
      smoothLess: [',', 'Smooth less'],
      smoothMore: ['.', 'Smooth more'],
      band: ['b', 'Band about curves'],
      each: ['m', 'Grouped: means, or each run'],
      full: ['f', 'A chart fills the place'],
      reset: ['0', 'Reset the zoom'],
      back: ['Escape', 'Back from zoom and full charts'],
    },
  },
  insight: { group: 'Insight', keys: { clear: ['0', 'Clear what is filtered on the axes'] } },
  checkpoint: { group: 'Models', keys: { close: ['Escape', 'Close the checkpoint'] } },
  weights: { group: 'Models', keys: { start: ['w', 'New run from these weights'] } },
  queue: { group: 'Queue', keys: { pause: ['Shift+Space', 'Pause the queue, or let it go on'] } },
  panel: { group: 'Run', keys: { previous: ['[', 'Previous run'], next: [']', 'Next run'] } },
  run: {
    group: 'Run',
    keys: {
      duplicate: ['d', 'Duplicate'],
      fromWeights: ['w', 'New run from its weights'],
      remove: ['Delete', 'Move into the trash'],
    },
  },
  output: { group: 'Run', keys: { search: ['/', 'Search the output'] } },
  newRun: {
    group: 'New run',
    keys: {
      now: ['Mod+Enter', 'Run now', 'while typing'],
      queue: ['Shift+Enter', 'Queue', 'while typing'],
      draft: ['Mod+s', 'Save as a draft', 'while typing'],
    },
  },
  page: {
    group: 'Everywhere',
    keys: {
      commands: ['Mod+k', 'Commands', 'while typing'],
      list: ['?', 'This list'],
      newRun: ['n', 'New run'],
      runs: ['1', 'Go to Runs'],
      insight: ['2', 'Go to Insight'],
      models: ['3', 'Go to Models'],
      queue: ['4', 'Go to Queue'],
      theme: ['t', 'Dark, light or automatic'],
    },
  },
  query: { group: 'Everywhere', keys: { focus: ['/', 'Filter runs'] } },
  sheet: { group: 'Everywhere', keys: { close: ['Escape', 'Close the sheet', 'while typing'] } },
} as const satisfies Record<string, { group: string; keys: Record<string, Entry> }>;

const POINTER: readonly Entry[] = [
  ['Drag', 'Zoom to what is dragged over: x, y or both'],
  ['Mod+Wheel', 'Zoom about the pointer'],
  ['Shift+Drag', 'Pan'],
  ['Double-click', 'All of x and y again'],
];

export type Part = keyof typeof KEYS;

export interface Said {
  keys: string[];
  does: string;
  group: string;
}

/** By group: those in which a key answers now are first, those that always do next. */
export function allKeys(now: readonly Said[]): [string, Said[]][] {
  const groups = new Map<string, Said[]>();
  for (const { group, keys } of Object.values(KEYS)) {
    const pointer = group === 'Charts' ? POINTER : [];
    const said = [...Object.values<Entry>(keys), ...pointer].map(([all, does]) => ({
      keys: all.split(' '),
      does,
      group,
    }));
    groups.set(group, [...(groups.get(group) ?? []), ...said]);
  }
  const rank = (group: string) => (group === 'Everywhere' ? 1 : now.some((key) => key.group === group) ? 0 : 2);
  return [...groups].sort(([a], [b]) => rank(a) - rank(b));
}
