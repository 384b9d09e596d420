// When all of the queue is over, in words.
import type { QueueView } from '../../api/types';
import { count, duration } from '../../parts/format';

/** ' · all done in about 14 s'; at least that long where of some nobody knows; nothing where nothing is known. */
export function outlook({ left_s, unknown, running, waiting }: QueueView): string {
  if (left_s === null || running.length + waiting.length === 0) return '';
  const left = duration(left_s);
  return unknown === 0
    ? ` · all done in about ${left}`
    : ` · all done in at least ${left}: how long ${count(unknown)} of them will take is unknown`;
}
