/** Reordering what waits: what is asked of the server when a run is dropped or moved by key. */

export interface Move {
  name: string;
  before: string | null;
  last: boolean;
}

/** The move that puts `name` at `to` (an index after it was taken out); null where nothing would change. */
export function moveTo(order: readonly string[], name: string, to: number): Move | null {
  const from = order.indexOf(name);
  if (from < 0) return null;
  const rest = order.filter((one) => one !== name);
  const at = Math.max(0, Math.min(rest.length, to));
  if (at === from) return null;
  return at === rest.length ? { name, before: null, last: true } : { name, before: rest[at]!, last: false };
}

/** The order after a move, shown until the server has answered. */
export function moved(order: readonly string[], move: Move): string[] {
  const rest = order.filter((one) => one !== move.name);
  const at = move.last || move.before === null ? rest.length : rest.indexOf(move.before);
  rest.splice(at < 0 ? rest.length : at, 0, move.name);
  return rest;
}
