// The one WebSocket of a tab: what the parts of the page want to hear of is merged into one subscription; a lost
// connection is made again and goes on at the cursors that the parts hold.
import { makeStore } from '../api/store';
import type { LiveMessage, OutputCursor } from '../api/types';

export interface Wanted {
  /** run → cursor */
  series?: Record<string, string>;
  metrics?: string[];
  output?: OutputCursor | null;
  machine?: boolean;
}

export interface Connection {
  state: 'connecting' | 'open' | 'lost';
  /** Milliseconds since 1970, where it is lost: since when, and when the next try is. */
  since: number;
  nextTry: number;
}

type OfType<T extends LiveMessage['type']> = Extract<LiveMessage, { type: T }>;
export interface Wish {
  /** What is wanted is another thing now. */
  changed(): void;
  end(): void;
}

const WAITS_MS = [500, 1000, 2000, 2000, 5000];

/** What is sent: cursors and metrics of all, the newest wish for output, the machine if anybody wants it. */
export function merged(wanted: Wanted[]): Record<string, unknown> {
  const series: Record<string, string> = {};
  const metrics = new Set<string>();
  let output: OutputCursor | null = null;
  for (const one of wanted) {
    Object.assign(series, one.series);
    one.metrics?.forEach((metric) => metrics.add(metric));
    output = one.output ?? output;
  }
  const machine = wanted.some((one) => one.machine);
  return { type: 'subscribe', rows: true, series, metrics: [...metrics], output, machine };
}

export class Live {
  readonly connection = makeStore<Connection>({ state: 'connecting', since: 0, nextTry: 0 });
  /** Of the rows that were told of last. */
  private revision = 0;
  /** The earliest of the rows that were answered. */
  private earliest = Infinity;
  private socket: WebSocket | null = null;
  private failures = 0;
  private server: string | null = null;
  private soon: ReturnType<typeof setTimeout> | null = null;
  private retry: ReturnType<typeof setTimeout> | null = null;
  private readonly wishes = new Set<() => Wanted>();
  private readonly handlers = new Map<string, Set<(message: never) => void>>();

  /** Connects, and stays connected until the page goes. */
  start(): void {
    if (this.socket) return;
    if (this.retry) clearTimeout(this.retry);
    const scheme = location.protocol === 'https:' ? 'wss' : 'ws';
    const socket = new WebSocket(`${scheme}://${location.host}/api/live`);
    this.socket = socket;
    socket.onopen = () => this.subscribe();
    socket.onmessage = (event) => this.take(JSON.parse(event.data as string) as LiveMessage);
    socket.onclose = () => {
      this.socket = null;
      const wait = WAITS_MS[Math.min(this.failures, WAITS_MS.length - 1)]!;
      this.failures += 1;
      const before = this.connection.get();
      const since = before.state === 'lost' ? before.since : Date.now();
      this.connection.set({ state: 'lost', since, nextTry: Date.now() + wait });
      this.retry = setTimeout(() => this.start(), wait);
    };
  }

  /** `what` is asked whenever a subscription is sent, so it says the cursors of that moment. */
  want(what: () => Wanted): Wish {
    this.wishes.add(what);
    this.resubscribe();
    return {
      changed: () => this.resubscribe(),
      end: () => {
        this.wishes.delete(what);
        this.resubscribe();
      },
    };
  }

  on<T extends LiveMessage['type']>(type: T, handler: (message: OfType<T>) => void): () => void {
    return this.listen(type, handler as (message: never) => void);
  }

  /** What is held may be old: connected again, or for the first time after it was read. `isAnew`: to a server that was
   * started since, so everything held is to be fetched again. */
  onAgain(handler: (isAnew: boolean) => void): () => void {
    return this.listen('again', handler as (message: never) => void);
  }

  /** Whether rows of this revision lack what was told of while they were under way. Where the stream has not begun yet,
   * that is seen as it begins, and `onAgain` heard. */
  isBehind(revision: number): boolean {
    this.earliest = Math.min(this.earliest, revision);
    return revision < this.revision;
  }

  private listen(type: string, handler: (message: never) => void): () => void {
    const all = this.handlers.get(type) ?? new Set();
    this.handlers.set(type, all.add(handler));
    return () => all.delete(handler);
  }

  private tell(type: string, message: unknown): void {
    this.handlers.get(type)?.forEach((handler) => handler(message as never));
  }

  private take(message: LiveMessage): void {
    if ('revision' in message) this.revision = message.revision;
    if (message.type === 'hello') {
      const isAgain = this.server !== null;
      const isAnew = isAgain && this.server !== message.server;
      this.server = message.server;
      this.failures = 0;
      this.connection.set({ state: 'open', since: 0, nextTry: 0 });
      this.tell('hello', message);
      if (isAgain || this.earliest < message.revision) this.tell('again', isAnew);
    } else this.tell(message.type, message);
  }

  private resubscribe(): void {
    if (this.soon) return;
    this.soon = setTimeout(() => {
      this.soon = null;
      this.subscribe();
    }, 30);
  }

  private subscribe(): void {
    if (this.socket?.readyState !== WebSocket.OPEN) return;
    this.socket.send(JSON.stringify(merged([...this.wishes].map((what) => what()))));
  }
}

export const live = new Live();
