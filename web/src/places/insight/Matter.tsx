// What went with the metric: one bar a setting, with how sure that is; it is no proof of a cause, and says so.
import { useMemo } from 'react';
import { names } from '../../parts/names';
import css from './Insight.module.css';
import { FEWEST_RUNS, effectOf } from './rank';
import type { Insight } from './useInsight';

export function Matter({ insight }: { insight: Insight }) {
  const { settings, values, target, isIn } = insight;
  const rows = useMemo(() => {
    const goal = (target ? (values.get(target.name) ?? []) : []).filter((_, at) => isIn[at]);
    return settings
      .map((one) => ({
        ...one,
        effect: effectOf(
          (values.get(one.name) ?? []).filter((_, at) => isIn[at]),
          goal,
        ),
      }))
      .sort((a, b) => ('size' in b.effect ? b.effect.size : -1) - ('size' in a.effect ? a.effect.size : -1));
  }, [settings, values, target, isIn]);
  const known = rows.filter((row) => 'size' in row.effect);
  const unknown = rows.filter((row) => !('size' in row.effect));
  const runs = Math.max(0, ...rows.map((row) => ('size' in row.effect ? row.effect.runs : row.effect.tooFew)));
  return (
    <section className={css.matter} aria-label="What went with the metric">
      <h2>
        What went with {target?.title ?? 'the metric'}{' '}
        <span
          className={css.about}
          tabIndex={0}
          data-tip={
            'Rank correlation (Spearman), one setting at a time, over runs that pass the filter; between words the share of rank variance.\nA setting whose best value lies in the middle shows little here: look at the scatter.\nIt is no proof of a cause.'
          }
        >
          ?
        </span>
      </h2>
      {known.length === 0 ? (
        <p className={css.soft}>
          Too few runs ({runs}): {FEWEST_RUNS} that have a value of {target?.title ?? 'the metric'} are needed before
          this says anything.
        </p>
      ) : (
        <>
          <ul>
            {known.map((row) => {
              const effect = row.effect as Extract<typeof row.effect, { size: number }>;
              const isClear = effect.size > 2 * effect.error;
              return (
                <li key={row.name} className={names(!isClear && css.unclear)}>
                  <span className={css.matterName} data-tip={row.title}>
                    {row.title}
                  </span>
                  <span className={css.matterTrack} aria-hidden="true">
                    <i style={{ width: `${Math.min(1, effect.size) * 100}%` }} />
                    <b
                      style={{
                        left: `${Math.max(0, effect.size - effect.error) * 100}%`,
                        width: `${(Math.min(1, effect.size + effect.error) - Math.max(0, effect.size - effect.error)) * 100}%`,
                      }}
                    />
                  </span>
                  <span
                    className={css.matterSize}
                    data-tip={`±${effect.error.toFixed(2)} over ${effect.runs} runs${isClear ? '' : '\nNot more than chance would show'}`}
                  >
                    {effect.sign > 0 ? '↑' : effect.sign < 0 ? '↓' : ''} {effect.size.toFixed(2)}
                  </span>
                </li>
              );
            })}
          </ul>
          <p className={css.soft}>
            about ±{(1 / Math.sqrt(Math.max(2, runs) - 1)).toFixed(2)}: {runs} runs. ↑ a larger value went with a larger{' '}
            {target?.title}.
          </p>
          {unknown.length > 0 && (
            <p className={css.soft}>
              Too few runs, or too many values, to say:{' '}
              {unknown
                .slice(0, 8)
                .map((row) => row.title)
                .join(', ')}
            </p>
          )}
        </>
      )}
    </section>
  );
}
