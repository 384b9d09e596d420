import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { Live, merged } from './live';

/** A socket whose other end is the test. */
class OtherEnd {
  static all: OtherEnd[] = [];
  static readonly OPEN = 1;
  readyState = 0;
  sent: unknown[] = [];
  onopen?: () => void;
  onmessage?: (event: { data: string }) => void;
  onclose?: () => void;

  constructor(readonly url: string) {
    OtherEnd.all.push(this);
  }

  send(text: string): void {
    this.sent.push(JSON.parse(text));
  }

  hello(server: string): void {
    this.readyState = 1;
    this.onopen?.();
    this.say({ type: 'hello', server, revision: 7 });
  }

  say(message: unknown): void {
    this.onmessage?.({ data: JSON.stringify(message) });
  }

  cut(): void {
    this.readyState = 3;
    this.onclose?.();
  }
}

beforeEach(() => {
  OtherEnd.all = [];
  vi.useFakeTimers();
  vi.stubGlobal('WebSocket', OtherEnd);
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

describe('the live connection', () => {
  test('asks once for what all parts of the page want', () => {
    expect(
      merged([
        { series: { a: '1:5' }, metrics: ['loss'] },
        { machine: true },
        { series: { b: '1:0' }, metrics: ['loss', 'acc'], output: { run: 'a', attempt: 1, cursor: '9' } },
      ]),
    ).toEqual({
      type: 'subscribe',
      rows: true,
      series: { a: '1:5', b: '1:0' },
      metrics: ['loss', 'acc'],
      output: { run: 'a', attempt: 1, cursor: '9' },
      machine: true,
    });
  });

  test('goes on at the cursors of the moment after it was lost', () => {
    const live = new Live();
    let cursor = '1:10';
    live.want(() => ({ series: { a: cursor }, metrics: ['loss'] }));
    live.start();
    OtherEnd.all[0]!.hello('one');
    expect(OtherEnd.all[0]!.sent).toMatchObject([{ series: { a: '1:10' } }]);
    expect(live.connection.get().state).toBe('open');
    cursor = '1:90';
    OtherEnd.all[0]!.cut();
    expect(live.connection.get().state).toBe('lost');
    vi.advanceTimersByTime(600);
    OtherEnd.all[1]!.hello('one');
    expect(OtherEnd.all[1]!.sent).toMatchObject([{ series: { a: '1:90' } }]);
    expect(live.connection.get().state).toBe('open');
  });

  test('tells a server that was started anew from one that was only out of reach', () => {
    const live = new Live();
    const again: boolean[] = [];
    live.onAgain((isAnew) => again.push(isAnew));
    live.start();
    OtherEnd.all[0]!.hello('one');
    OtherEnd.all[0]!.cut();
    vi.advanceTimersByTime(600);
    OtherEnd.all[1]!.hello('one');
    OtherEnd.all[1]!.cut();
    vi.advanceTimersByTime(600);
    OtherEnd.all[2]!.hello('two');
    expect(again).toEqual([false, true]);
  });

  test('has rows asked for again that something is told of which they do not have', () => {
    const live = new Live();
    const again: boolean[] = [];
    live.onAgain((isAnew) => again.push(isAnew));
    expect(live.isBehind(1)).toBe(false); // answered before the stream has begun, with revision 7
    live.start();
    OtherEnd.all[0]!.hello('one');
    expect(again).toEqual([false]);
    expect([6, 7, 8].map((revision) => live.isBehind(revision))).toEqual([true, false, false]);
  });

  test('has nothing asked for again that was answered just before the stream began', () => {
    const live = new Live();
    const again: boolean[] = [];
    live.onAgain((isAnew) => again.push(isAnew));
    live.isBehind(7);
    live.start();
    OtherEnd.all[0]!.hello('one');
    expect(again).toEqual([]);
  });

  test('keeps trying, more and more slowly, and says when', () => {
    const live = new Live();
    live.start();
    const waits: number[] = [];
    for (let turn = 0; turn < 6; turn++) {
      OtherEnd.all.at(-1)!.cut();
      waits.push(live.connection.get().nextTry - Date.now());
      vi.advanceTimersByTime(waits.at(-1)! + 1);
    }
    expect(waits).toEqual([500, 1000, 2000, 2000, 5000, 5000]);
    expect(OtherEnd.all).toHaveLength(7);
  });

  test('sends a change of what is wanted once, however many parts change it', () => {
    const live = new Live();
    live.start();
    OtherEnd.all[0]!.hello('one');
    const wish = live.want(() => ({ machine: true }));
    wish.changed();
    live.want(() => ({ metrics: ['loss'] }));
    vi.advanceTimersByTime(50);
    expect(OtherEnd.all[0]!.sent).toHaveLength(2);
    expect(OtherEnd.all[0]!.sent[1]).toMatchObject({ machine: true, metrics: ['loss'] });
    wish.end();
    vi.advanceTimersByTime(50);
    expect(OtherEnd.all[0]!.sent[2]).toMatchObject({ machine: false });
  });
});
