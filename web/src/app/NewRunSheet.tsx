import { Sheet } from '../parts/Dialog';
import { type NewRunFrom, closeNewRun } from './view';

/** What the next run is made of. */
export function NewRunSheet({ from }: { from: NewRunFrom }) {
  return (
    <Sheet title={from.run ? `New run from ${from.run}` : 'New run'} onClose={closeNewRun}>
      {null}
    </Sheet>
  );
}
