// A list of any length whose rows have one height: only those in view are in the page.
import { type ReactNode, type Ref, useEffect, useImperativeHandle, useRef, useState } from 'react';

export interface ListHandle {
  scrollTo(index: number, where?: 'near' | 'middle' | 'end'): void;
  isAtEnd(): boolean;
}

export interface VirtualListProps {
  count: number;
  rowHeight: number;
  children: (index: number) => ReactNode;
  /** Called with [first, last) whenever other rows are in view. */
  onRange?: (first: number, last: number) => void;
  onScrolled?: () => void;
  className?: string | undefined;
  label: string;
  handle?: Ref<ListHandle>;
}

/** Browsers give up on elements higher than this (Firefox 17.9, Chromium 33.5 million pixels). */
const MOST_PX = 15_000_000;

export function VirtualList({
  count,
  rowHeight,
  children,
  onRange,
  onScrolled,
  className,
  label,
  handle,
}: VirtualListProps) {
  const ref = useRef<HTMLDivElement>(null);
  const [view, setView] = useState({ top: 0, height: 0 });
  const full = count * rowHeight;
  const high = Math.min(full, MOST_PX);
  // Where all rows do not fit, the scroll bar is a scale of them.
  const scale = high > view.height && full > high ? (full - view.height) / (high - view.height) : 1;
  useEffect(() => {
    const list = ref.current!;
    const measure = () => setView({ top: list.scrollTop, height: list.clientHeight });
    const sized = new ResizeObserver(measure);
    sized.observe(list);
    measure();
    return () => sized.disconnect();
  }, []);
  useImperativeHandle(
    handle,
    () => ({
      scrollTo(index, where = 'near') {
        const list = ref.current!;
        const top = index * rowHeight;
        const at = list.scrollTop * scale;
        const to =
          where === 'end'
            ? full
            : where === 'middle'
              ? top - (list.clientHeight - rowHeight) / 2
              : Math.min(Math.max(at, top + rowHeight - list.clientHeight), top);
        list.scrollTop = to / scale;
      },
      isAtEnd: () => ref.current!.scrollTop + ref.current!.clientHeight >= ref.current!.scrollHeight - rowHeight,
    }),
    [rowHeight, full, scale],
  );
  const offset = view.top * scale;
  const first = Math.max(0, Math.floor(offset / rowHeight) - 4);
  const last = Math.min(count, Math.ceil((offset + view.height) / rowHeight) + 4);
  useEffect(() => onRange?.(first, last), [first, last, onRange]);
  return (
    <div
      ref={ref}
      className={className}
      tabIndex={0}
      role="region"
      aria-label={label}
      style={{ overflow: 'auto', position: 'relative' }}
      onScroll={(event) => {
        setView({ top: event.currentTarget.scrollTop, height: event.currentTarget.clientHeight });
        onScrolled?.();
      }}
    >
      <div style={{ height: high, position: 'relative' }}>
        <div style={{ position: 'absolute', left: 0, right: 0, top: first * rowHeight - offset + view.top }}>
          {Array.from({ length: Math.max(0, last - first) }, (_, i) => children(first + i))}
        </div>
      </div>
    </div>
  );
}
