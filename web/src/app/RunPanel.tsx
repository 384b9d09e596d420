// One run, whole: opened over whatever is shown, at the right; [ and ] go through the runs as the table has them.
import { Panel } from '../panel/Panel';
import type { RunTab } from './view';

export function RunPanel({ name, tab }: { name: string; tab: RunTab | null }) {
  return <Panel name={name} tab={tab} />;
}
