import { Sheet } from '../parts/Dialog';
import { type RunTab, changeView } from './view';

/** One run, whole. */
export function RunPanel({ name }: { name: string; tab: RunTab | null }) {
  return (
    <Sheet title={name} width={760} onClose={() => changeView({ open: null, tab: null })}>
      {null}
    </Sheet>
  );
}
