// Charts that are to be drawn anew by something that is dragged take turns: in a frame as many as leave the page able to
// answer, in the next one those that were left. What is drawn is what is wanted then, not what was wanted meanwhile.

const BUDGET_MS = 6;
const waiting = new Set<() => void>();
let isAsked = false;

/** Does it within the next frames. Who waits already keeps its turn. */
export function takeTurn(draw: () => void): void {
  waiting.add(draw);
  if (isAsked) return;
  isAsked = true;
  requestAnimationFrame(() => void goOn());
}

/** Does what waits to be done no more. */
export function leaveTurn(draw: () => void): void {
  waiting.delete(draw);
}

async function goOn(): Promise<void> {
  const end = performance.now() + BUDGET_MS;
  for (const draw of waiting) {
    waiting.delete(draw);
    draw();
    // uPlot paints in a microtask: it is counted, too.
    await undefined;
    if (performance.now() > end) break;
  }
  isAsked = waiting.size > 0;
  if (isAsked) requestAnimationFrame(() => void goOn());
}
