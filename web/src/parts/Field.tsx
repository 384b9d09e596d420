// A labelled field: what is wrong with it stands below it, and is told to screen readers with it.
import { type InputHTMLAttributes, type ReactNode, useId } from 'react';
import css from './Field.module.css';
import { names } from './names';

export interface FieldProps extends InputHTMLAttributes<HTMLInputElement> {
  label: string;
  error?: string | null | undefined;
  hint?: ReactNode;
  /** The label is for screen readers only. */
  quiet?: boolean;
  mono?: boolean;
}

export function Field({ label, error, hint, quiet = false, mono = false, className, ...rest }: FieldProps) {
  const id = useId();
  return (
    <div className={names(css.field, className)}>
      <label htmlFor={id} className={quiet ? 'unseen' : css.label}>
        {label}
      </label>
      <input
        id={id}
        className={names(css.input, mono && css.mono, error && css.wrong)}
        aria-invalid={Boolean(error)}
        aria-describedby={error || hint ? `${id}-says` : undefined}
        autoComplete="off"
        spellCheck={false}
        {...rest}
      />
      {(error || hint) && (
        <div id={`${id}-says`} className={error ? css.error : css.hint}>
          {error || hint}
        </div>
      )}
    </div>
  );
}

export function Select<T extends string>({
  label,
  options,
  value,
  onChange,
  quiet = false,
}: {
  label: string;
  options: readonly { value: T; text: string }[];
  value: T;
  onChange: (value: T) => void;
  quiet?: boolean;
}) {
  const id = useId();
  return (
    <div className={css.field}>
      <label htmlFor={id} className={quiet ? 'unseen' : css.label}>
        {label}
      </label>
      <select id={id} className={css.select} value={value} onChange={(event) => onChange(event.target.value as T)}>
        {options.map((option) => (
          <option key={option.value} value={option.value}>
            {option.text}
          </option>
        ))}
      </select>
    </div>
  );
}

export function Checkbox({
  label,
  checked,
  onChange,
  tip,
}: {
  label: ReactNode;
  checked: boolean;
  onChange: (checked: boolean) => void;
  tip?: string;
}) {
  return (
    <label className={css.checkbox} data-tip={tip}>
      <input type="checkbox" checked={checked} onChange={(event) => onChange(event.target.checked)} />
      {label}
    </label>
  );
}
