// What an attempt printed, as far as it was looked at: windows of lines are fetched when they come into view, and what
// is printed meanwhile arrives by the live connection.
import { get } from '../api/ask';
import { makeStore } from '../api/store';
import type { Schema } from '../api/types';
import { live } from '../live/live';

export interface Shown {
  total: number;
  /** Grows whenever lines have come. */
  turn: number;
  leftOut: string | null;
  problem: string | null;
  isKnown: boolean;
}

const WINDOW = 400;
/** A gap between wanted lines that is fetched along, instead of asking twice. */
const GAP = 40;
const MOST_HELD = 60_000;

export class OutputLines {
  readonly shown = makeStore<Shown>({ total: 0, turn: 0, leftOut: null, problem: null, isKnown: false });
  private lines = new Map<number, string>();
  private readonly asked = new Set<number>();
  private cursor = '';
  private isOpen = false;
  private leave: (() => void)[] = [];

  constructor(
    readonly run: string,
    readonly attempt: number,
  ) {}

  /** Reads the end, then listens until `stop`. */
  start(): void {
    const wish = live.want(() =>
      this.cursor ? { output: { run: this.run, attempt: this.attempt, cursor: this.cursor } } : {},
    );
    this.leave = [
      () => wish.end(),
      live.on('output', (message) => {
        if (message.run === this.run && message.attempt === this.attempt) this.grow(message.text, message.cursor);
      }),
      live.onAgain((isAnew) => isAnew && void this.readEnd().then(() => wish.changed())),
    ];
    void this.readEnd().then(() => wish.changed());
  }

  stop(): void {
    this.leave.forEach((one) => one());
    this.leave = [];
  }

  line(number: number): string | undefined {
    return this.lines.get(number);
  }

  /** Sees to it that these lines come, those that have not been asked for. */
  need(numbers: readonly number[]): void {
    let from: number | null = null;
    let to = 0;
    const ask = () => from !== null && void this.read(from, Math.max(to - from + 1, 1));
    for (const number of numbers) {
      if (this.lines.has(number) || this.asked.has(number)) continue;
      if (from === null) [from, to] = [number, number];
      else if (number - to <= GAP && number - from < WINDOW) to = number;
      else {
        ask();
        [from, to] = [number, number];
      }
    }
    ask();
  }

  private async readEnd(): Promise<void> {
    this.lines = new Map();
    this.asked.clear();
    await this.read(-WINDOW, WINDOW);
  }

  private async read(first: number, count: number): Promise<void> {
    for (let at = first; at < first + count; at++) this.asked.add(at);
    try {
      const path = `/api/runs/${encodeURIComponent(this.run)}/output`;
      const got = await get<Schema<'OutputLines'>>(path, { attempt: this.attempt, first, count });
      if (this.lines.size > MOST_HELD) this.lines = new Map();
      got.lines.forEach((line, at) => this.lines.set(got.first + at, line));
      if (first < 0) {
        this.cursor = got.cursor;
        this.isOpen = false;
      }
      this.shown.set((before) => ({
        total: Math.max(first < 0 ? 0 : before.total, got.total),
        turn: before.turn + 1,
        leftOut: got.left_out,
        problem: null,
        isKnown: true,
      }));
    } catch (cause) {
      this.shown.set((before) => ({ ...before, problem: (cause as Error).message, isKnown: true }));
    } finally {
      for (let at = first; at < first + count; at++) this.asked.delete(at);
    }
  }

  private grow(text: string, cursor: string): void {
    this.cursor = cursor;
    let { total } = this.shown.get();
    const parts = text.split('\n');
    if (this.isOpen && total > 0) {
      const before = this.lines.get(total - 1);
      if (before !== undefined) this.lines.set(total - 1, before + parts[0]!);
      parts.shift();
    }
    this.isOpen = !text.endsWith('\n');
    if (!this.isOpen) parts.pop();
    for (const part of parts) this.lines.set(total++, part);
    this.shown.set((before) => ({ ...before, total, turn: before.turn + 1 }));
  }
}
