// What the next run is made of: opened over whatever is shown, which stays visible and live.
import { session, whyNot } from '../api/session';
import { useStore } from '../api/store';
import { Empty } from '../parts/Empty';
import { Sheet } from '../parts/Dialog';
import { NewRun } from '../sheet/NewRun';
import { runOf, useOrigin } from '../sheet/useOrigin';
import { type NewRunFrom, closeNewRun } from './view';

export function NewRunSheet({ from }: { from: NewRunFrom }) {
  const { origin, refusal } = useOrigin(from);
  const name = runOf(from);
  const title = name === null ? 'New run' : `New run from ${name}`;
  const who = useStore(session);
  const no = who === null ? null : whyNot(who, 'edit');
  const key = JSON.stringify(from);
  if (!no && origin && (origin.run || origin.scripts.length > 0))
    return <NewRun key={key} title={title} from={from} origin={origin} />;
  return (
    <Sheet title={title} onClose={closeNewRun}>
      {no && <Empty title="No new run can be made over this link" text={no} />}
      {!no && origin && (
        <Empty
          title="No script to start yet"
          text="This server was started without a script. Start it with one, or with the folder that holds them; or duplicate a run: its script is kept with it."
          command="hypertuner train.py"
        />
      )}
      {!no && refusal && !origin && (
        <Empty
          title={name === null ? 'No new run can be made now' : 'This run cannot be copied'}
          text={refusal.message}
        />
      )}
    </Sheet>
  );
}
