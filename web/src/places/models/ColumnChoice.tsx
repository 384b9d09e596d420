// Which metrics and settings the list of checkpoints shows.
import { useState } from 'react';
import { Button } from '../../parts/Button';
import { Checkbox, Field } from '../../parts/Field';
import { Popover } from '../../parts/Popover';
import css from './Models.module.css';

/** Names beyond so many are found by typing. */
const MOST_OFFERED = 60;

interface Props {
  metrics: readonly string[];
  settings: readonly string[];
  ids: readonly string[];
  onChange: (ids: readonly string[] | null) => void;
}

export function ColumnChoice(props: Props) {
  return (
    <Popover button="Columns" icon="columns" kind="quiet" label="Columns of the list" width={280}>
      <Choices {...props} />
    </Popover>
  );
}

function Choices({ metrics, settings, ids, onChange }: Props) {
  const [text, setText] = useState('');
  const toggle = (id: string, isIn: boolean) => onChange(isIn ? [...ids, id] : ids.filter((one) => one !== id));
  const offered = (title: string, kind: string, keys: readonly string[]) => {
    const found = keys.filter((key) => key.toLowerCase().includes(text.trim().toLowerCase()));
    if (found.length === 0) return null;
    return (
      <section>
        <h3>{title}</h3>
        {found.slice(0, MOST_OFFERED).map((key) => (
          <Checkbox
            key={key}
            label={key}
            checked={ids.includes(`${kind}:${key}`)}
            onChange={(isIn) => toggle(`${kind}:${key}`, isIn)}
          />
        ))}
        {found.length > MOST_OFFERED && (
          <p className={css.soft}>and {found.length - MOST_OFFERED} more: type a part of the name</p>
        )}
      </section>
    );
  };
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
      {offered('Metrics', 'metric', metrics)}
      {offered('Settings', 'config', settings)}
      <Button size="small" onClick={() => onChange(null)}>
        The usual columns
      </Button>
    </div>
  );
}
