import { type RefObject, useEffect, useState } from 'react';

/** How large an element is, in CSS pixels; 0 × 0 until it is known. */
export function useSize(of: RefObject<Element | null>): { width: number; height: number } {
  const [size, setSize] = useState({ width: 0, height: 0 });
  useEffect(() => {
    const element = of.current;
    if (!element) return undefined;
    const sized = new ResizeObserver(([entry]) => {
      if (entry) setSize({ width: Math.floor(entry.contentRect.width), height: Math.floor(entry.contentRect.height) });
    });
    sized.observe(element);
    return () => sized.disconnect();
  }, [of]);
  return size;
}
