// What of the URL all four places share, as types: filter, order, selection, and how charts are drawn.
import { useCallback, useMemo } from 'react';
import { session, whyNot } from '../api/session';
import { useStore } from '../api/store';
import { toast } from '../parts/Toast';
import { type Params, type Patch, type Url, go, url } from './url';

export const X_AXES = ['step', 'time', 'clock', 'root'] as const;
/** step · seconds since it began · wall clock · steps since root · `m:` and the name of a metric. */
export type XAxis = (typeof X_AXES)[number] | `m:${string}`;
export const RUN_TABS = ['config', 'charts', 'output', 'media', 'weights', 'files', 'attempts'] as const;
export type RunTab = (typeof RUN_TABS)[number];

export interface View {
  query: string;
  sort: string;
  /** null: the name's own direction. */
  descending: boolean | null;
  group: string[];
  /** Where runs are grouped: a curve for each of them, instead of a mean for each group. */
  each: boolean;
  /** Names of columns of the table; null: chosen by us. */
  columns: string[] | null;
  /** Names of runs; null: running and the ten latest; 'every': all that match the filter. */
  selected: string[] | 'every' | null;
  x: XAxis;
  smooth: number;
  logY: boolean;
  logX: boolean;
  band: boolean;
  perRow: 1 | 2 | 3;
  /** The chart that fills the place. */
  chart: string | null;
  /** Of x, in all charts. */
  zoom: [number, number] | null;
  /** Of y, each in the chart of a metric. */
  zoomY: [string, number, number][];
  archived: boolean;
  /** The run whose panel is open. */
  open: string | null;
  tab: RunTab | null;
}

export const PLAIN_VIEW: View = {
  query: '',
  sort: '',
  descending: null,
  group: [],
  each: false,
  columns: null,
  selected: null,
  x: 'step',
  smooth: 0,
  logY: false,
  logX: false,
  band: true,
  perRow: 2,
  chart: null,
  zoom: null,
  zoomY: [],
  archived: false,
  open: null,
  tab: null,
};

/** No run has this name. */
const EVERY = '*';

const list = (text: string | undefined) =>
  text === undefined ? null : text === '' ? [] : text.split(',').map(unescapeItem);
const escapeItem = (item: string) => item.replace(/[%,]/g, encodeURIComponent);
const unescapeItem = (item: string) => item.replace(/%(25|2C)/g, decodeURIComponent);

export function readView(params: Params): View {
  const zoom = params['zoom']?.split(',').map(Number);
  const smooth = Number(params['smooth'] ?? 0);
  const perRow = Number(params['row'] ?? 2);
  const x = params['x'] ?? 'step';
  return {
    query: params['q'] ?? '',
    sort: params['sort'] ?? '',
    descending: params['desc'] === undefined ? null : params['desc'] === '1',
    group: list(params['group']) ?? [],
    each: params['curves'] === 'each',
    columns: list(params['cols']),
    selected: params['sel'] === EVERY ? 'every' : list(params['sel']),
    x: X_AXES.includes(x as never) || x.startsWith('m:') ? (x as XAxis) : 'step',
    smooth: smooth >= 0 && smooth < 1 ? smooth : 0,
    logY: params['log']?.includes('y') ?? false,
    logX: params['log']?.includes('x') ?? false,
    band: params['band'] !== '0',
    perRow: perRow === 1 || perRow === 3 ? perRow : 2,
    chart: params['chart'] ?? null,
    zoom: zoom?.length === 2 && zoom.every(Number.isFinite) ? [zoom[0]!, zoom[1]!] : null,
    zoomY: readZoomY(list(params['zoomy']) ?? []),
    archived: params['archived'] === '1',
    open: params['run'] ?? null,
    tab: RUN_TABS.find((tab) => tab === params['tab']) ?? null,
  };
}

/** 'val/loss,0.1,0.5,…' */
function readZoomY(items: string[]): View['zoomY'] {
  const found: View['zoomY'] = [];
  for (let at = 0; at + 2 < items.length; at += 3) {
    const [from, to] = [Number(items[at + 1]), Number(items[at + 2])];
    if (from < to && to - from < Infinity) found.push([items[at]!, from, to]);
  }
  return found;
}

/** What is to change in the URL so that it says `view`; what is as in PLAIN_VIEW is not said. */
export function writeView(view: View): Patch {
  const items = (all: string[] | null) => (all === null ? null : all.map(escapeItem).join(','));
  return {
    q: view.query || null,
    sort: view.sort || null,
    desc: view.descending === null ? null : view.descending ? '1' : '0',
    group: view.group.length ? items(view.group) : null,
    curves: view.each ? 'each' : null,
    cols: items(view.columns),
    sel: view.selected === 'every' ? EVERY : items(view.selected),
    x: view.x === 'step' ? null : view.x,
    smooth: view.smooth ? String(view.smooth) : null,
    log: (view.logX ? 'x' : '') + (view.logY ? 'y' : '') || null,
    band: view.band ? null : '0',
    row: view.perRow === 2 ? null : String(view.perRow),
    chart: view.chart,
    zoom: view.zoom ? view.zoom.join(',') : null,
    zoomy: view.zoomY.length ? items(view.zoomY.flat().map(String)) : null,
    archived: view.archived ? '1' : null,
    run: view.open,
    tab: view.tab,
  };
}

/** The word of the URL that says each part. */
const SAID_BY: Record<keyof View, string> = {
  query: 'q',
  sort: 'sort',
  descending: 'desc',
  group: 'group',
  each: 'curves',
  columns: 'cols',
  selected: 'sel',
  x: 'x',
  smooth: 'smooth',
  logY: 'log',
  logX: 'log',
  band: 'band',
  perRow: 'row',
  chart: 'chart',
  zoom: 'zoom',
  zoomY: 'zoomy',
  archived: 'archived',
  open: 'run',
  tab: 'tab',
};

/** The view now, and how to change some of it. Where parts are named, only they are given, and only they wake it. */
export function useView<Part extends keyof View = keyof View>(
  ...parts: Part[]
): [Pick<View, Part>, (patch: Partial<View>, replace?: boolean) => void] {
  const words = (parts.length ? parts : (Object.keys(SAID_BY) as Part[])).map((part) => SAID_BY[part]).join(' ');
  const pick = useCallback(
    (now: Url) => JSON.stringify(words.split(' ').map((word) => now.params[word] ?? null)),
    [words],
  );
  const said = useStore(url, pick);
  return [
    useMemo(() => {
      const values = JSON.parse(said) as (string | null)[];
      const entries = words.split(' ').map((word, at) => [word, values[at]] as const);
      return readView(Object.fromEntries(entries.filter((one): one is [string, string] => one[1] !== null)));
    }, [said, words]),
    changeView,
  ];
}

/** The query for what is asked of the table's runs: in the archive, of those in it alone. */
export function askedOf({ query, archived }: Pick<View, 'query' | 'archived'>): string {
  if (!archived) return query;
  return query ? `archived and (${query})` : 'archived';
}

export function changeView(patch: Partial<View>, replace = false): void {
  go(writeView({ ...readView(url.get().params), ...patch }), { replace });
}

export function openRun(name: string, tab: RunTab | null = null): void {
  changeView({ open: name, tab });
}

export interface NewRunFrom {
  /** Whose script and config are copied. */
  run?: string;
  /** A reference to the checkpoint it starts from. */
  parent?: string;
  how?: 'weights' | 'fork';
  /** Settings that are another value at once, as one types them. */
  set?: Readonly<Record<string, string>>;
}

/** Opens the New run sheet over whatever is shown; says why not to whom it would be of no use. */
export function openNewRun(from: NewRunFrom = {}): void {
  const no = whyNot(session.get(), 'edit');
  if (no) return toast({ text: no, isBad: true });
  go({
    new: from.run ?? '',
    parent: from.parent ?? null,
    how: from.parent ? (from.how ?? 'weights') : null,
    set: from.set ? new URLSearchParams(from.set).toString() : null,
  });
}

export function closeNewRun(): void {
  go({ new: null, parent: null, how: null, set: null });
}

/** What the New run sheet begins with; null while it is closed. */
export function readNewRun(params: Params): NewRunFrom | null {
  if (params['new'] === undefined) return null;
  return {
    ...(params['new'] ? { run: params['new'] } : {}),
    ...(params['parent'] ? { parent: params['parent'], how: params['how'] === 'fork' ? 'fork' : 'weights' } : {}),
    ...(params['set'] ? { set: Object.fromEntries(new URLSearchParams(params['set'])) } : {}),
  };
}
