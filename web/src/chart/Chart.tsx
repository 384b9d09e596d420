// A chart in the page: lines in, what is pointed at out.
import { type Ref, useEffect, useImperativeHandle, useLayoutEffect, useRef } from 'react';
import css from './Chart.module.css';
import type { Crosshair } from './crosshair';
import type { Line } from './line';
import { type Ink, type Laid, type Look, type Pick, Plot, type Reading, type Zoom } from './plot';

export interface ChartHandle {
  png(title: string): Promise<Blob | null>;
}

export interface ChartProps {
  lines: readonly Line[];
  look: Look;
  ink: Ink;
  hot: string | null;
  link: Crosshair;
  /** One sentence that says what is seen. */
  label: string;
  height: number;
  /** Another number: curves have grown. */
  version: number;
  onHot: (id: string | null) => void;
  onRead: (reading: Reading | null) => void;
  onZoom: (zoom: Zoom) => void;
  onLaid: (laid: Laid) => void;
  onPick: (pick: Pick) => void;
  handle?: Ref<ChartHandle>;
}

export function Chart({ lines, look, ink, hot, link, label, height, version, handle, ...said }: ChartProps) {
  const root = useRef<HTMLDivElement>(null);
  const plot = useRef<Plot | null>(null);
  const newest = useRef(said);
  const first = useRef({ look, ink });
  useLayoutEffect(() => {
    newest.current = said;
  });
  useLayoutEffect(() => {
    const made = new Plot(root.current!, first.current.look, first.current.ink, link, {
      onHot: (id) => newest.current.onHot(id),
      onRead: (reading) => newest.current.onRead(reading),
      onZoom: (zoom) => newest.current.onZoom(zoom),
      onLaid: (laid) => newest.current.onLaid(laid),
      onPick: (pick) => newest.current.onPick(pick),
    });
    plot.current = made;
    return () => made.destroy();
  }, [link]);
  useEffect(() => {
    const box = root.current!;
    const fit = () => plot.current?.resize(box.clientWidth, box.clientHeight);
    // It is called for the first time in the frame that begins: to measure here would lay out the page once more.
    const sized = new ResizeObserver(fit);
    sized.observe(box);
    return () => sized.disconnect();
  }, []);
  useLayoutEffect(() => plot.current?.set(lines, look, ink), [lines, look, ink, version, link]);
  useLayoutEffect(() => plot.current?.setHot(hot), [hot]);
  useImperativeHandle(handle, () => ({ png: async (title) => (await plot.current?.png(title)) ?? null }), []);
  return <div ref={root} role="img" aria-label={label} className={css.chart} style={{ height }} />;
}
