import type { Detail } from './useDetail';

/** The run's own curves. */
export function Charts({ detail }: { detail: Detail }) {
  return <div>{detail.metrics.join(', ')}</div>;
}
