// Images, texts and histograms that a script logged: one slider goes through the steps, runs of the selection that
// logged the same stand side by side.
import { useMemo, useState } from 'react';
import type { Schema } from '../api/types';
import { useGet } from '../api/use';
import { useSelection } from '../app/selection';
import { count, number } from '../parts/format';
import { Empty } from '../parts/Empty';
import { Checkbox } from '../parts/Field';
import css from './Panel.module.css';
import { edgesPath } from './histogram';
import type { Detail } from './useDetail';
import { MOST_BESIDE, useMedia } from './useMedia';

type Item = Schema<'MediaItem'>;

export function Media({ detail }: { detail: Detail }) {
  const name = detail.row.name;
  const [isBeside, setBeside] = useState(true);
  const { names: selected, isDefault } = useSelection();
  const others = useMemo(
    () => (isDefault ? [] : selected).filter((one) => one !== name).slice(0, MOST_BESIDE - 1),
    [selected, isDefault, name],
  );
  const runs = useMemo(() => [name, ...(isBeside ? others : [])], [name, isBeside, others]);
  const lists = useMedia(runs, detail.row.step);
  const steps = useMemo(
    () => [...new Set(Object.values(lists).flatMap((items) => items.map((item) => item.step)))].sort((a, b) => a - b),
    [lists],
  );
  const [chosen, setChosen] = useState<number | null>(null);
  const step = chosen ?? steps[steps.length - 1] ?? 0;
  const groups = [...new Set(Object.values(lists).flatMap((items) => items.map((item) => item.name)))].sort();
  if (Object.keys(lists).length > 0 && groups.length === 0) {
    return <Empty title="Nothing was logged here" command='logger.log({"samples": hypertuner.Image(image)}, step)' />;
  }
  const at = steps.indexOf(step);
  const shown = runs.filter((run) => lists[run]?.length);
  return (
    <div className={css.padded}>
      <div className={css.slider}>
        <label htmlFor="media-step">Step</label>
        <input
          id="media-step"
          type="range"
          min={0}
          max={Math.max(0, steps.length - 1)}
          value={Math.max(0, at)}
          aria-valuetext={`step ${step}`}
          onChange={(event) => setChosen(steps[Number(event.target.value)] ?? null)}
        />
        <output>{count(step)}</output>
        {others.length > 0 && <Checkbox label="Beside the selection" checked={isBeside} onChange={setBeside} />}
      </div>
      {groups.map((group) => (
        <section key={group} aria-label={group}>
          <h3>{group}</h3>
          <div className={css.beside}>
            {shown.map((run) => {
              const item = nearest(lists[run]!, group, step);
              return (
                <figure key={run}>
                  {item ? <One item={item} /> : <div className={css.soft}>nothing</div>}
                  <figcaption>
                    {shown.length > 1 && <b>{run}</b>} {item && item.step !== step && `step ${count(item.step)}`}{' '}
                    {item?.caption}
                  </figcaption>
                </figure>
              );
            })}
          </div>
        </section>
      ))}
    </div>
  );
}

/** The newest item of a group up to a step. */
function nearest(items: readonly Item[], group: string, step: number): Item | null {
  let best: Item | null = null;
  for (const item of items)
    if (item.name === group && item.step <= step && item.step >= (best?.step ?? -Infinity)) best = item;
  return best;
}

function One({ item }: { item: Item }) {
  if (item.kind === 'image') return <img src={item.url} alt={item.caption || `${item.name} at step ${item.step}`} />;
  return item.kind === 'text' ? <Text url={item.url} /> : <Histogram url={item.url} name={item.name} />;
}

function Text({ url }: { url: string }) {
  const { answer } = useGet<Schema<'OneValue'>>(url);
  return <pre className={css.mediaText}>{answer === null ? '' : String(answer.value)}</pre>;
}

function Histogram({ url, name }: { url: string; name: string }) {
  const { answer } = useGet<Schema<'HistogramValue'>>(url);
  const [low, high] = [answer?.edges[0], answer?.edges[answer.edges.length - 1]];
  return (
    <div className={css.histogram}>
      <svg viewBox="0 0 240 90" preserveAspectRatio="none" role="img" aria-label={`Histogram of ${name}`}>
        <path d={answer ? edgesPath(answer.edges, answer.counts, 240, 90) : ''} />
      </svg>
      {low !== undefined && high !== undefined && (
        <div>
          <span>{number(low)}</span>
          <span>{number(high)}</span>
        </div>
      )}
    </div>
  );
}
