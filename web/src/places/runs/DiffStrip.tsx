// What differs among the runs that are selected, in one line.
import { useGet } from '../../api/use';
import type { Columns, Differing, Value } from '../../api/types';
import { changeView } from '../../app/view';
import { number, plural, value } from '../../parts/format';
import { showMenu } from '../../parts/Menu';
import css from './Runs.module.css';

/** As many as the charts show. */
const MOST = 200;

export function DiffStrip({
  names,
  ids,
  known,
}: {
  names: readonly string[];
  ids: readonly string[];
  known: Columns | null;
}) {
  const asked = names.slice(0, MOST);
  const { answer } = useGet<Differing>(asked.length > 1 ? '/api/runs/differing' : null, { name: asked });
  const equal = Object.entries(answer?.equal ?? {});
  if (names.length < 2 || !answer || answer.differing.length + equal.length === 0) return null;
  return (
    <div className={css.strip} role="region" aria-label="What differs" tabIndex={-1}>
      <b>
        {answer.differing.length
          ? `What differs in these ${names.length}`
          : `Nothing differs in the settings of these ${names.length}`}
      </b>
      {answer.differing.map(({ key, values }) => {
        const all = values as Record<string, Value>;
        return (
          <button
            key={key}
            type="button"
            className={css.differs}
            data-tip={tipOf(all, asked)}
            onClick={(event) =>
              showMenu(event.currentTarget, key, [
                { text: key, isTitle: true },
                {
                  text: ids.includes(`config:${key}`) ? 'Hide its column' : 'Show as a column',
                  icon: 'columns',
                  run: () =>
                    changeView({
                      columns: ids.includes(`config:${key}`)
                        ? ids.filter((id) => id !== `config:${key}`)
                        : [...ids, `config:${key}`],
                    }),
                },
                {
                  text: 'Sort by it',
                  icon: 'up',
                  run: () =>
                    changeView({ sort: known?.config.find((one) => one.key === key)?.name ?? key, descending: null }),
                },
                { text: 'Group by it', icon: 'group', run: () => changeView({ group: [key] }) },
              ])
            }
          >
            <span>{key}</span> {spanOf(Object.values(all))}
          </button>
        );
      })}
      {equal.length > 0 && (
        <span
          className={css.equal}
          data-tip={equal
            .slice(0, 40)
            .map(([key, one]) => `${key} = ${value(one as Value)}`)
            .join('\n')}
          tabIndex={0}
        >
          the other {plural(equal.length, 'setting is', 'settings are')} equal
        </span>
      )}
    </div>
  );
}

/** 1e-4 … 1e-3, or 4 / 8 / 16. */
function spanOf(values: readonly Value[]): string {
  const distinct = [...new Map(values.map((one) => [JSON.stringify(one), one])).values()];
  if (distinct.length > 3 && distinct.every((one) => typeof one === 'number')) {
    const numbers = (distinct as number[]).sort((a, b) => a - b);
    return `${number(numbers[0]!)} … ${number(numbers.at(-1)!)}`;
  }
  const texts = distinct.slice(0, 3).map((one) => value(one));
  return texts.join(' / ') + (distinct.length > 3 ? ` / ${distinct.length - 3} more` : '');
}

function tipOf(values: Record<string, Value>, names: readonly string[]): string {
  const lines = names.slice(0, 20).map((name) => `${name}: ${name in values ? value(values[name]) : '–'}`);
  return lines.join('\n') + (names.length > 20 ? `\nand ${names.length - 20} more` : '');
}
