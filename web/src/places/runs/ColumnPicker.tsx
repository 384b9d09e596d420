// Which columns the table shows.
import { useState } from 'react';
import type { Columns } from '../../api/types';
import { changeView } from '../../app/view';
import { Button } from '../../parts/Button';
import { Checkbox, Field, Select } from '../../parts/Field';
import { Popover } from '../../parts/Popover';
import css from './Runs.module.css';
import { FACTS, OVER_STEPS, metricColumn, parseColumn } from './columns';

export function ColumnPicker({ known, ids }: { known: Columns | null; ids: readonly string[] }) {
  return (
    <Popover button="Columns" icon="columns" kind="quiet" label="Columns of the table" width={320}>
      <Choices known={known} ids={ids} />
    </Popover>
  );
}

function Choices({ known, ids }: { known: Columns | null; ids: readonly string[] }) {
  const [text, setText] = useState('');
  const matches = (key: string) => key.toLowerCase().includes(text.trim().toLowerCase());
  const put = (columns: string[]) => changeView({ columns });
  const toggle = (id: string, isIn: boolean) => put(isIn ? [...ids, id] : ids.filter((one) => one !== id));
  const config = known?.config.filter((one) => matches(one.key)) ?? [];
  const metrics = known?.metrics.filter((one) => matches(one.key)) ?? [];
  const differing = config.filter((one) => one.distinct > 1);
  const equal = config.filter((one) => one.distinct <= 1);
  return (
    <div className={css.picker}>
      <Field
        label="Find a column"
        quiet
        placeholder="Find a column"
        value={text}
        autoFocus
        onChange={(event) => setText(event.target.value)}
      />
      <section>
        <h3>Run</h3>
        {Object.entries(FACTS)
          .filter(([key, fact]) => matches(key) || matches(fact.title))
          .map(([key, fact]) => (
            <Checkbox
              key={key}
              label={fact.title}
              checked={ids.includes(`fact:${key}`)}
              onChange={(isIn) => toggle(`fact:${key}`, isIn)}
            />
          ))}
      </section>
      {metrics.length > 0 && (
        <section>
          <h3>Metrics</h3>
          {metrics.slice(0, 60).map(({ key }) => {
            const shown = ids.find((id) => parseColumn(id).kind === 'metric' && parseColumn(id).key === key);
            return (
              <div key={key} className={css.choice}>
                <Checkbox
                  label={key}
                  checked={shown !== undefined}
                  onChange={(isIn) => toggle(shown ?? metricColumn(key, 'last'), isIn)}
                />
                {shown !== undefined && (
                  <Select
                    label={`Which value of ${key}`}
                    quiet
                    value={parseColumn(shown).of}
                    options={OVER_STEPS.map((of) => ({ value: of, text: of }))}
                    onChange={(of) => put(ids.map((id) => (id === shown ? metricColumn(key, of) : id)))}
                  />
                )}
              </div>
            );
          })}
          {metrics.length > 60 && <p className={css.soft}>and {metrics.length - 60} more: type a part of the name</p>}
        </section>
      )}
      {differing.length > 0 && (
        <section>
          <h3>Settings that differ</h3>
          {differing.slice(0, 80).map(({ key, distinct }) => (
            <Checkbox
              key={key}
              label={
                <>
                  {key} <span className={css.soft}>{distinct}</span>
                </>
              }
              checked={ids.includes(`config:${key}`)}
              onChange={(isIn) => toggle(`config:${key}`, isIn)}
            />
          ))}
        </section>
      )}
      {equal.length > 0 && (
        <details open={text !== ''}>
          <summary>Equal in all ({equal.length})</summary>
          {equal.slice(0, 80).map(({ key }) => (
            <Checkbox
              key={key}
              label={key}
              checked={ids.includes(`config:${key}`)}
              onChange={(isIn) => toggle(`config:${key}`, isIn)}
            />
          ))}
        </details>
      )}
      <Button size="small" onClick={() => changeView({ columns: null })}>
        The usual columns
      </Button>
    </div>
  );
}
