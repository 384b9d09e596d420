// The first curves are asked for when the rows that tell which they are arrive, not when there are charts to draw them.
import { address } from '../../api/ask';
import type { RunsPage } from '../../api/types';
import { NEWEST } from '../../app/rows';
import { runningAndLatest } from '../../app/selection';
import { url } from '../../app/url';
import { readView } from '../../app/view';
import { metricsOf, withCurve } from './metrics';
import { watched } from './watched';

/** Until a chart has taken over; what none wants is then let go. */
const HELD_MS = 10_000;

/** Of the rows that the head of the page has asked for (app/first.js); nothing where it has asked for none. */
export function askForCurves(): void {
  const answers = window.askedFirst?.answers ?? {};
  const { selected, group, perRow, x, chart } = readView(url.get().params);
  if (selected === 'every' || (selected === null && group.length)) return;
  const rows =
    selected === null
      ? address('/api/runs', { offset: 0, limit: NEWEST })
      : address('/api/runs/rows', { name: selected });
  const ask = async (answer: Pick<Response, 'ok' | 'json'>) => {
    if (!answer.ok) return;
    const page = (await answer.json()) as RunsPage;
    const names = new Set(selected ?? runningAndLatest(page.rows));
    const shown = page.rows.filter((row) => names.has(row.name));
    const first = metricsOf(shown, null).map((one) => one.key);
    const metrics = chart ? [chart] : first.slice(0, perRow);
    for (const metric of x.startsWith('m:') ? [...metrics, x.slice(2)] : metrics)
      setTimeout(watched.want(metric, withCurve(shown, metric)), HELD_MS);
  };
  // Whoever wants the rows hears of an answer that does not come, or is cut off.
  answers[rows]?.then(ask).catch(() => undefined);
}
