// Which rows of a long list are in view, and which pages of them are to be fetched.

/** Browsers give up on elements higher than this (Firefox 17.9, Chromium 33.5 million pixels). */
export const MOST_PX = 15_000_000;

export interface InView {
  /** Rows [first, last) are drawn. */
  first: number;
  last: number;
  /** Where the first of them begins, in pixels of the scrolled content. */
  top: number;
  /** Height of the scrolled content. */
  height: number;
  /** Rows' pixels for one of the scroll bar: above 1 only where all rows are higher than a browser bears. */
  scale: number;
}

export function inView(count: number, rowHeight: number, scrollTop: number, height: number, spare = 6): InView {
  const full = count * rowHeight;
  const high = Math.min(full, MOST_PX);
  const scale = full > high && high > height ? (full - height) / (high - height) : 1;
  const offset = scrollTop * scale;
  const first = Math.max(0, Math.min(count, Math.floor(offset / rowHeight) - spare));
  const last = Math.max(first, Math.min(count, Math.ceil((offset + height) / rowHeight) + spare));
  return { first, last, top: first * rowHeight - offset + scrollTop, height: high, scale };
}

/** The pages that hold rows [first, last). */
export function pagesOf(first: number, last: number, size: number): number[] {
  if (last <= first) return [];
  const from = Math.floor(first / size);
  return Array.from({ length: Math.floor((last - 1) / size) - from + 1 }, (_, i) => from + i);
}

/** Where to scroll to so that a row is seen whole; the same where it is already. */
export function scrollFor(index: number, rowHeight: number, scrollTop: number, height: number, scale: number): number {
  const top = index * rowHeight;
  const at = scrollTop * scale;
  if (top < at) return top / scale;
  if (top + rowHeight > at + height) return (top + rowHeight - height) / scale;
  return scrollTop;
}
