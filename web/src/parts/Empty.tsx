// An empty place is an instruction: what is missing, a button, a command to copy.
import type { ReactNode } from 'react';
import { Copy } from './Copy';
import css from './Empty.module.css';

export function Empty({
  title,
  text,
  command,
  children,
}: {
  title: string;
  text?: ReactNode;
  command?: string;
  children?: ReactNode;
}) {
  return (
    <div className={css.empty}>
      <h2>{title}</h2>
      {text && <p>{text}</p>}
      {command && (
        <div className={css.command}>
          <code>{command}</code>
          <Copy text={command} label="Copy the command" />
        </div>
      )}
      {children && <div className={css.actions}>{children}</div>}
    </div>
  );
}
