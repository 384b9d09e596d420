// Which columns a table of runs or of what they saved has: found by typing, settings that differ first.
import { type ReactNode, useState } from 'react';
import type { Columns } from '../api/types';
import { Button } from '../parts/Button';
import { Checkbox, Field } from '../parts/Field';
import { Popover } from '../parts/Popover';
import css from './ColumnPicker.module.css';

/** Names beyond so many are found by typing. */
const MOST_OFFERED = 60;

interface Offered {
  id: string;
  name: string;
  hint?: string;
}

interface Props {
  label: string;
  known: Columns | null;
  ids: readonly string[];
  /** What is no metric and no setting. */
  facts?: readonly Offered[];
  metrics: readonly string[];
  /** The column of a metric, where it may be one of several. */
  metricId?: (key: string) => string;
  /** What more there is to choose of a column that is shown. */
  beside?: (id: string) => ReactNode;
  onChange: (ids: string[] | null) => void;
}

export function ColumnPicker(props: Props) {
  return (
    <Popover button="Columns" icon="columns" kind="quiet" label={props.label} width={320}>
      <Choices {...props} />
    </Popover>
  );
}

function Choices({ known, ids, facts = [], metrics, metricId = (key) => `metric:${key}`, beside, onChange }: Props) {
  const [text, setText] = useState('');
  const found = (all: readonly Offered[]) =>
    all.filter(({ name }) => name.toLowerCase().includes(text.trim().toLowerCase()));
  const settings = (known?.config ?? []).map(({ key, distinct }) => ({
    id: `config:${key}`,
    name: key,
    distinct,
    ...(distinct > 1 && { hint: `${distinct} values` }),
  }));
  const listed = (all: readonly Offered[]) => (
    <>
      {all.slice(0, MOST_OFFERED).map(({ id, name, hint }) => (
        <div key={id} className={css.choice}>
          <Checkbox
            label={name}
            checked={ids.includes(id)}
            onChange={(isIn) => onChange(isIn ? [...ids, id] : ids.filter((one) => one !== id))}
          />
          {hint && <span className={css.soft}>{hint}</span>}
          {ids.includes(id) && beside?.(id)}
        </div>
      ))}
      {all.length > MOST_OFFERED && (
        <p className={css.soft}>and {all.length - MOST_OFFERED} more: type a part of the name</p>
      )}
    </>
  );
  const equal = found(settings.filter((one) => one.distinct <= 1));
  const open: [string, Offered[]][] = [
    ['Run', found(facts)],
    ['Metrics', found(metrics.map((key) => ({ id: metricId(key), name: key })))],
    ['Settings that differ', found(settings.filter((one) => one.distinct > 1))],
  ];
  return (
    <div className={css.choices}>
      <Field
        label="Find a column"
        quiet
        placeholder="Find a column"
        value={text}
        autoFocus
        onChange={(event) => setText(event.target.value)}
      />
      {open.map(
        ([title, all]) =>
          all.length > 0 && (
            <section key={title}>
              <h3>{title}</h3>
              {listed(all)}
            </section>
          ),
      )}
      {equal.length > 0 && (
        <details open={text !== ''}>
          <summary>Equal in all ({equal.length})</summary>
          {listed(equal)}
        </details>
      )}
      <Button size="small" onClick={() => onChange(null)}>
        The usual columns
      </Button>
    </div>
  );
}
