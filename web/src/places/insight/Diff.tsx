// What differs between any two runs.
import { useMemo, useState } from 'react';
import type { Differing, Value } from '../../api/types';
import { useGet } from '../../api/use';
import { useSelection } from '../../app/selection';
import { openRun } from '../../app/view';
import { exactValue, plural, value } from '../../parts/format';
import css from './Insight.module.css';
import type { Insight } from './useInsight';

export function Diff({ insight }: { insight: Insight }) {
  const [chosen, setChosen] = useState<[string | null, string | null]>([null, null]);
  const { names: selected, isDefault } = useSelection();
  const [first, second] = useMemo(() => twoOf(insight, isDefault ? [] : selected), [insight, selected, isDefault]);
  const names: [string, string] = [chosen[0] ?? first ?? '', chosen[1] ?? second ?? ''];
  const isKnown = names.every((name) => insight.names.includes(name)) && names[0] !== names[1];
  const { answer, refusal } = useGet<Differing>(isKnown ? '/api/runs/differing' : null, { name: names });
  const pick = (at: 0 | 1, name: string) => setChosen(at === 0 ? [name, names[1]] : [names[0], name]);
  const goal = insight.target ? insight.values.get(insight.target.name) : undefined;
  const goalOf = (name: string) => goal?.[insight.names.indexOf(name)];
  return (
    <section className={css.diff} aria-label="Difference of two runs">
      <datalist id="insight-runs">
        {insight.names.slice(0, 500).map((name) => (
          <option key={name} value={name} />
        ))}
      </datalist>
      <table>
        <thead>
          <tr>
            <th scope="col">What differs</th>
            {([0, 1] as const).map((at) => (
              <th scope="col" key={at}>
                <input
                  list="insight-runs"
                  aria-label={at ? 'Second run' : 'First run'}
                  value={names[at]}
                  spellCheck={false}
                  onFocus={(event) => event.target.select()}
                  onChange={(event) => pick(at, event.target.value)}
                  onDoubleClick={() => openRun(names[at])}
                />
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {insight.target && isKnown && (
            <tr className={css.goal}>
              <th scope="row">
                {insight.target.title} <span className={css.way}>{insight.target.direction}</span>
              </th>
              <td>{value(goalOf(names[0]))}</td>
              <td>{value(goalOf(names[1]))}</td>
            </tr>
          )}
          {isKnown &&
            answer?.differing.map((one) => (
              <tr key={one.key}>
                <th scope="row">{one.key}</th>
                {names.map((name) => (
                  <td key={name} data-tip={exactValue(one.values[name] as Value | undefined)}>
                    {name in one.values ? (
                      value(one.values[name] as Value)
                    ) : (
                      <span className={css.soft}>not there</span>
                    )}
                  </td>
                ))}
              </tr>
            ))}
        </tbody>
      </table>
      {!isKnown && <p className={css.soft}>Choose two runs.</p>}
      {refusal && <p className={css.bad}>{refusal.message}</p>}
      {isKnown && answer && (
        <p className={css.soft}>
          {answer.differing.length === 0 && 'No setting differs. '}
          {plural(Object.keys(answer.equal).length, 'setting is', 'settings are')} equal.
        </p>
      )}
    </section>
  );
}

/** The first two of the selection; without one, the best two. */
function twoOf(insight: Insight, selected: readonly string[]): [string | undefined, string | undefined] {
  const chosen = selected.filter((name) => insight.names.includes(name));
  if (chosen.length >= 2) return [chosen[0], chosen[1]];
  const goal = insight.target ? (insight.values.get(insight.target.name) ?? []) : [];
  const sign = insight.target?.direction === 'max' ? -1 : 1;
  const known = insight.names.flatMap((name, at) =>
    typeof goal[at] === 'number' ? [{ name, value: goal[at] as number }] : [],
  );
  known.sort((a, b) => sign * (a.value - b.value));
  const best = known.map((one) => one.name).filter((name) => !chosen.includes(name));
  return [chosen[0] ?? best[0], chosen[0] ? best[0] : best[1]];
}
