// A list of any length whose rows have one height: only those in view are in the page.
import { type ReactNode, type Ref, useEffect, useImperativeHandle, useRef, useState } from 'react';
import { inView, scrollFor } from '../table/inView';

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
  const { first, last, top, height: high, scale } = inView(count, rowHeight, view.top, view.height, 4);
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
        const { scrollTop, clientHeight, scrollHeight } = list;
        if (where === 'end') list.scrollTop = scrollHeight;
        else if (where === 'middle') list.scrollTop = (index * rowHeight - (clientHeight - rowHeight) / 2) / scale;
        else list.scrollTop = scrollFor(index, rowHeight, scrollTop, clientHeight, scale);
      },
      isAtEnd: () => ref.current!.scrollTop + ref.current!.clientHeight >= ref.current!.scrollHeight - rowHeight,
    }),
    [rowHeight, scale],
  );
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
        <div style={{ position: 'absolute', left: 0, right: 0, top }}>
          {Array.from({ length: Math.max(0, last - first) }, (_, i) => children(first + i))}
        </div>
      </div>
    </div>
  );
}
