import { expect, test } from 'vitest';
import { leaveTurn, takeTurn } from './turns';

const frame = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
const busy = (ms: number) => {
  for (const end = performance.now() + ms; performance.now() < end;);
};

test('what takes long takes turns: each is drawn once for all that was asked of it, and none is passed over', async () => {
  const drawn: string[] = [];
  const draw = (name: string) => () => {
    drawn.push(name);
    busy(20);
  };
  const [a, b, c, d] = ['a', 'b', 'c', 'd'].map(draw) as [() => void, () => void, () => void, () => void];
  [a, b, c, d, a].forEach(takeTurn);
  expect(drawn).toEqual([]);
  await frame();
  expect(drawn).toEqual(['a']);
  takeTurn(a);
  leaveTurn(c);
  for (let i = 0; i < 4; i++) await frame();
  expect(drawn).toEqual(['a', 'b', 'd', 'a']);
});

test('what is quick is drawn in one frame', async () => {
  const drawn: number[] = [];
  Array.from({ length: 5 }, (_, i) => () => void drawn.push(i)).forEach(takeTurn);
  await frame();
  expect(drawn).toEqual([0, 1, 2, 3, 4]);
});
