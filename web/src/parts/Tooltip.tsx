// One tooltip for the page: whatever has `data-tip` shows it on hover and on focus; Escape hides it.
import { useEffect, useRef } from 'react';
import css from './Tooltip.module.css';

const WAIT_MS = 350;

/** Stands once in the page. */
export function TooltipHost() {
  const ref = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const box = ref.current!;
    let timer: ReturnType<typeof setTimeout> | undefined;
    let of: Element | null = null;
    const hide = () => {
      clearTimeout(timer);
      of = null;
      if (box.matches(':popover-open')) box.hidePopover();
    };
    const show = (target: Element) => {
      const text = target.getAttribute('data-tip');
      if (!text || !target.isConnected) return;
      box.textContent = text;
      if (!box.matches(':popover-open')) box.showPopover();
      const at = target.getBoundingClientRect();
      const size = box.getBoundingClientRect();
      const below = at.bottom + 6 + size.height < innerHeight;
      box.style.left = `${Math.max(4, Math.min(at.left + at.width / 2 - size.width / 2, innerWidth - size.width - 4))}px`;
      box.style.top = `${below ? at.bottom + 6 : Math.max(4, at.top - size.height - 6)}px`;
    };
    const over = (event: Event) => {
      const target = event.target instanceof Element ? event.target.closest('[data-tip]') : null;
      if (target === of) return;
      hide();
      of = target;
      if (target) timer = setTimeout(() => show(target), event.type === 'focusin' ? 0 : WAIT_MS);
    };
    const focused = (event: Event) => {
      if (event.target instanceof Element && event.target.matches(':focus-visible')) over(event);
    };
    const key = (event: KeyboardEvent) => event.key === 'Escape' && hide();
    document.addEventListener('pointerover', over);
    document.addEventListener('focusin', focused);
    document.addEventListener('focusout', hide);
    document.addEventListener('pointerdown', hide, true);
    document.addEventListener('scroll', hide, true);
    document.addEventListener('keydown', key, true);
    return () => {
      document.removeEventListener('pointerover', over);
      document.removeEventListener('focusin', focused);
      document.removeEventListener('focusout', hide);
      document.removeEventListener('pointerdown', hide, true);
      document.removeEventListener('scroll', hide, true);
      document.removeEventListener('keydown', key, true);
    };
  }, []);
  return <div ref={ref} popover="manual" role="tooltip" className={css.tip} />;
}
