// Buttons say their effect; `tip` appears on hover and focus, `keys` is the key that does the same.
import type { ButtonHTMLAttributes, ReactNode } from 'react';
import { shown } from '../app/keys';
import css from './Button.module.css';
import { Icon, type IconName } from './Icon';
import { names } from './names';

interface Common extends Omit<ButtonHTMLAttributes<HTMLButtonElement>, 'title'> {
  tip?: string;
  keys?: string;
}

export interface ButtonProps extends Common {
  kind?: 'plain' | 'primary' | 'quiet' | 'danger';
  size?: 'small' | 'usual';
  icon?: IconName;
  children: ReactNode;
}

export function Button({ kind = 'plain', size = 'usual', icon, keys, tip, children, className, ...rest }: ButtonProps) {
  return (
    <button type="button" className={names(css.button, css[kind], css[size], className)} data-tip={tip} {...rest}>
      {icon && <Icon name={icon} size={14} />}
      {children}
      {keys && <Kbd keys={keys} />}
    </button>
  );
}

/** A button that is only an icon: `label` is its name for everyone who does not see it, and its tooltip. */
export function IconButton({
  icon,
  label,
  keys,
  tip,
  isOn,
  fill,
  className,
  ...rest
}: Common & { icon: IconName; label: string; isOn?: boolean; fill?: boolean }) {
  return (
    <button
      type="button"
      aria-label={label}
      aria-pressed={isOn}
      data-tip={tip ?? (keys ? `${label}  ${shown(keys)}` : label)}
      className={names(css.button, css.quiet, css.icon, isOn && css.on, className)}
      {...rest}
    >
      <Icon name={icon} fill={fill ?? false} />
    </button>
  );
}

/** The key that does the same. */
export function Kbd({ keys }: { keys: string }) {
  return <kbd className={css.kbd}>{shown(keys)}</kbd>;
}

/** One of a few, side by side. */
export function Segmented<T extends string>({
  label,
  options,
  value,
  onChange,
}: {
  label: string;
  options: readonly { value: T; text: ReactNode; tip?: string }[];
  value: T;
  onChange: (value: T) => void;
}) {
  return (
    <div role="radiogroup" aria-label={label} className={css.segmented}>
      {options.map((option) => (
        <button
          key={option.value}
          type="button"
          role="radio"
          aria-checked={option.value === value}
          tabIndex={option.value === value ? 0 : -1}
          data-tip={option.tip}
          onClick={() => onChange(option.value)}
          onKeyDown={(event) => {
            const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
            if (step === undefined) return;
            event.preventDefault();
            const at = options.findIndex((one) => one.value === value);
            onChange(options[(at + step + options.length) % options.length]!.value);
            const siblings = event.currentTarget.parentElement!.children;
            (siblings[(at + step + options.length) % options.length] as HTMLElement).focus();
          }}
        >
          {option.text}
        </button>
      ))}
    </div>
  );
}
