// What links charts: one x, under the pointer of one of them.

export class Crosshair {
  x: number | null = null;
  /** The chart that the pointer is in. */
  source: object | null = null;
  private readonly listeners = new Set<() => void>();

  move(x: number | null, source: object): void {
    if (x === null && this.source !== source) return;
    this.x = x;
    this.source = x === null ? null : source;
    this.listeners.forEach((listener) => listener());
  }

  follow(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }
}
