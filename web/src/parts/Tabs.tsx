import type { ReactNode } from 'react';
import css from './Tabs.module.css';

/** Tabs of one panel; arrows move between them. The panel is the caller's: role="tabpanel" with this label. */
export function Tabs<T extends string>({
  label,
  tabs,
  value,
  onChange,
}: {
  label: string;
  tabs: readonly { value: T; text: ReactNode }[];
  value: T;
  onChange: (value: T) => void;
}) {
  return (
    <div role="tablist" aria-label={label} className={css.tabs}>
      {tabs.map((tab, at) => (
        <button
          key={tab.value}
          type="button"
          role="tab"
          aria-selected={tab.value === value}
          tabIndex={tab.value === value ? 0 : -1}
          onClick={() => onChange(tab.value)}
          onKeyDown={(event) => {
            const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
            if (step === undefined) return;
            event.preventDefault();
            const next = (at + step + tabs.length) % tabs.length;
            onChange(tabs[next]!.value);
            (event.currentTarget.parentElement!.children[next] as HTMLElement).focus();
          }}
        >
          {tab.text}
        </button>
      ))}
    </div>
  );
}
