// What the top bar always shows: the queue as it is, and the machine's last sample.
import { get } from '../api/ask';
import { makeStore } from '../api/store';
import type { MachineSample, QueueView } from '../api/types';
import { live } from './live';

export const queueNow = makeStore<QueueView | null>(null);
export const machineNow = makeStore<MachineSample | null>(null);

/** Keeps both stores fresh for as long as the page lives. */
export function watchNow(): void {
  live.want(() => ({ machine: true }));
  live.on('queue', (message) => queueNow.set(message.queue));
  live.on('machine', (message) => machineNow.set(message.sample));
  const read = () => get<QueueView>('/api/queue').then(queueNow.set, () => undefined);
  live.onAgain(() => void read());
  void read();
}
