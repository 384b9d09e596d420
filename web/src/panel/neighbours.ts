// Which run comes before and after one, in the order of the table.
import { get } from '../api/ask';
import type { RunsPage } from '../api/types';
import { complain } from '../app/actions';
import { url } from '../app/url';
import { changeView, readView } from '../app/view';

let held: { of: string; names: string[]; at: number } | null = null;
const FRESH_MS = 10_000;

async function order(): Promise<string[]> {
  const view = readView(url.get().params);
  const asked = {
    query: view.query,
    sort: view.sort,
    descending: view.descending,
    archived: view.archived ? 'only' : null,
    limit: 1000,
  };
  const of = JSON.stringify(asked);
  if (held?.of === of && Date.now() - held.at < FRESH_MS) return held.names;
  const page = await get<RunsPage>('/api/runs', asked);
  held = { of, names: page.rows.map((row) => row.name), at: Date.now() };
  return held.names;
}

/** Opens the run that stands `step` rows below. */
export async function openNeighbour(name: string, step: 1 | -1): Promise<void> {
  try {
    const names = await order();
    const next = names[names.indexOf(name) + step];
    if (next !== undefined && names.includes(name)) changeView({ open: next }, true);
  } catch (cause) {
    complain(cause);
  }
}
