// Which metrics and settings the list of checkpoints shows: those chosen, else the usual ones.
import type { Columns } from '../../api/types';

export interface CheckpointColumn {
  /** 'metric:val/loss', 'config:lr': what the address holds. */
  id: string;
  key: string;
  isSetting: boolean;
  /** The name that the server sorts by. */
  sort: string;
}

const USUAL_METRICS = 4;
const USUAL_SETTINGS = 2;

export function columnOf(id: string): CheckpointColumn {
  const isSetting = id.startsWith('config:');
  const key = id.slice(id.indexOf(':') + 1);
  return { id, key, isSetting, sort: isSetting ? `config.${key}` : key };
}

/** Settings that differ and the most frequent metrics, so that the list is of use before anybody chooses. */
export function usualColumns(metrics: readonly string[], known: Columns | null): string[] {
  const differing = known?.config.filter((one) => one.distinct > 1 && one.key !== 'seed') ?? [];
  const settings = differing.sort((a, b) => Number(b.kind === 'float') - Number(a.kind === 'float'));
  return [
    ...metrics.slice(0, USUAL_METRICS).map((key) => `metric:${key}`),
    ...settings.slice(0, USUAL_SETTINGS).map((one) => `config:${one.key}`),
  ];
}

/** With the column that the list is sorted by: an order whose reason is not seen is no order. */
export function withSorted(ids: readonly string[], sort: string): string[] {
  if (['saved_at', 'size', 'step', 'run'].includes(sort)) return [...ids];
  const id = sort.startsWith('config.') ? `config:${sort.slice('config.'.length)}` : `metric:${sort}`;
  return ids.includes(id) ? [...ids] : [id, ...ids];
}

/** In the address: names may hold commas. */
export const spellColumns = (ids: readonly string[]): string => ids.map(encodeURIComponent).join(',');
export const readColumns = (text: string): string[] => text.split(',').filter(Boolean).map(decodeURIComponent);
