import { describe, expect, test } from 'vitest';
import { MOST_PX, inView, pagesOf, scrollFor } from './inView';
import { Windows } from './windows';

describe('rows in view', () => {
  test('are those the scroll bar stands at, with some to spare', () => {
    expect(inView(1000, 28, 2800, 560, 2)).toMatchObject({
      first: 98,
      last: 122,
      top: 98 * 28,
      height: 28000,
      scale: 1,
    });
    expect(inView(3, 28, 0, 560)).toMatchObject({ first: 0, last: 3 });
    expect(inView(0, 28, 0, 560)).toMatchObject({ first: 0, last: 0, height: 0 });
  });

  test('reach the last row of a list that is higher than a browser bears', () => {
    const many = 5_000_000;
    const end = inView(many, 28, MOST_PX - 600, 600);
    expect(end.height).toBe(MOST_PX);
    expect(end.last).toBe(many);
    const lastRow = end.top + (many - 1 - end.first) * 28;
    expect(lastRow + 28).toBeCloseTo(MOST_PX, 3);
    expect(inView(many, 28, 0, 600).first).toBe(0);
  });

  test('every row is reached by the keyboard', () => {
    for (const count of [50, 100_000, 5_000_000])
      for (const index of [0, 1, 17, count - 1, Math.floor(count / 3)]) {
        const { scale } = inView(count, 28, 0, 600);
        const top = scrollFor(index, 28, 4321, 600, scale);
        const seen = inView(count, 28, top, 600, 0);
        expect(index).toBeGreaterThanOrEqual(seen.first);
        expect(index).toBeLessThan(seen.last);
      }
  });

  test('pages are those that hold them', () => {
    expect(pagesOf(0, 40, 200)).toEqual([0]);
    expect(pagesOf(190, 210, 200)).toEqual([0, 1]);
    expect(pagesOf(400, 400, 200)).toEqual([]);
    expect(pagesOf(399, 601, 200)).toEqual([1, 2, 3]);
  });
});

describe('windows of rows', () => {
  const settled = () => new Promise((done) => setTimeout(done));

  function thousand() {
    const asked: number[] = [];
    const held = { changes: 0, rows: Array.from({ length: 1000 }, (_, i) => ({ name: `run-${i}`, turn: 0 })) };
    const windows = new Windows(
      async (offset, limit) => {
        asked.push(offset);
        return { rows: held.rows.slice(offset, offset + limit), matched: held.rows.length };
      },
      () => (held.changes += 1),
      (cause) => {
        throw cause;
      },
    );
    return { windows, asked, held };
  }

  test('fetch what is in view, once', async () => {
    const { windows, asked } = thousand();
    windows.want(0, 30);
    windows.want(1, 31);
    await settled();
    expect(windows.matched).toBe(1000);
    windows.want(190, 230);
    await settled();
    expect(asked).toEqual([0, 200]);
    expect(windows.at(229)?.name).toBe('run-229');
    expect(windows.at(600)).toBeNull();
  });

  test('show the old rows until the new are there', async () => {
    const { windows, asked, held } = thousand();
    windows.want(200, 230);
    await settled();
    held.rows = held.rows.map((row) => ({ ...row, turn: 1 })).slice(5);
    windows.refresh();
    expect(windows.at(210)).toEqual({ name: 'run-210', turn: 0 });
    await settled();
    expect(windows.at(210)).toEqual({ name: 'run-215', turn: 1 });
    expect(windows.matched).toBe(995);
    expect(asked).toEqual([200, 200]);
  });

  test('take over rows that have changed, where they stand', async () => {
    const { windows, held } = thousand();
    windows.want(0, 10);
    await settled();
    const before = held.changes;
    expect(windows.patch([{ name: 'run-7', turn: 9 }], (a, b) => a.name === b.name)).toBe(true);
    expect(windows.patch([{ name: 'run-999', turn: 9 }], (a, b) => a.name === b.name)).toBe(false);
    expect(windows.at(7)).toEqual({ name: 'run-7', turn: 9 });
    expect(held.changes).toBe(before + 1);
  });
});
