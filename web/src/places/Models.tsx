// All that was saved: checkpoints with their metrics, one of them whole, the family tree, and room on the disk.
import { Suspense, useMemo, useState } from 'react';
import { useStore } from '../api/store';
import type { Columns } from '../api/types';
import { useGet } from '../api/use';
import { ColumnPicker } from '../app/ColumnPicker';
import { QueryBar } from '../app/QueryBar';
import { part } from '../app/patiently';
import { useParam } from '../app/url';
import { useView } from '../app/view';
import { actionsDone } from '../app/actions';
import { Button, Segmented } from '../parts/Button';
import { Empty } from '../parts/Empty';
import { bytes, plural } from '../parts/format';
import { CheckpointList } from './models/CheckpointList';
import { Detail } from './models/Detail';
import css from './models/Models.module.css';
import { columnOf, readColumns, spellColumns, usualColumns, withSorted } from './models/columns';
import { useCheckpoints } from './models/useCheckpoints';

const Family = part(() => import('./models/Family').then((m) => m.Family));
const Room = part(() => import('./models/Room').then((m) => m.Room));

export function Models() {
  const [view, change] = useView();
  const [show, setShow] = useParam('show');
  const [model, setModel] = useParam('model');
  const [sort, setSort] = useParam('msort');
  const [isMakingRoom, setMakingRoom] = useState(false);
  const turn = useStore(actionsDone);
  const order = useMemo(() => {
    const isUp = sort?.startsWith('-') ?? false;
    return { sort: sort?.replace(/^-/, '') ?? 'saved_at', isReversed: isUp };
  }, [sort]);
  const pages = useCheckpoints(view.query, order.sort, order.isReversed, turn);
  const [chosen, setChosen] = useParam('mcols');
  const known = useGet<Columns>('/api/runs/columns', { query: view.query }).answer;
  const ids = useMemo(
    () => withSorted(chosen === null ? usualColumns(pages.metrics, known) : readColumns(chosen), order.sort),
    [chosen, pages.metrics, known, order.sort],
  );
  const isTree = show === 'tree';
  const isEmpty = pages.matched === 0;
  return (
    <div className={css.withQuery}>
      <QueryBar />
      <div className={model ? css.withDetail : css.place}>
        <div className={css.main}>
          <div className={css.bar}>
            <Segmented
              label="What is shown"
              value={isTree ? 'tree' : 'weights'}
              options={[
                { value: 'weights', text: 'Weights' },
                { value: 'tree', text: 'Family tree' },
              ]}
              onChange={(next) => setShow(next === 'tree' ? 'tree' : null)}
            />
            <span className={css.grow} />
            {pages.matched !== null && !isEmpty && (
              <span className={css.soft}>
                {plural(pages.matched, 'checkpoint')}, {bytes(pages.nbytes)}
              </span>
            )}
            {!isTree && !isEmpty && (
              <ColumnPicker
                label="Columns of the list"
                known={known}
                ids={ids}
                metrics={[...new Set([...pages.metrics, ...(known?.metrics ?? []).map((one) => one.key)])]}
                onChange={(next) => setChosen(next && spellColumns(next), true)}
              />
            )}
            <Button size="small" onClick={() => setMakingRoom(true)}>
              Make room…
            </Button>
          </div>
          {pages.refusal && <p className={css.problem}>{pages.refusal.message}</p>}
          {isTree ? (
            <Suspense fallback={null}>
              <Family model={model} onModel={setModel} />
            </Suspense>
          ) : isEmpty ? (
            <NoWeights query={view.query} onClear={() => change({ query: '' })} />
          ) : (
            <CheckpointList
              pages={pages}
              columns={ids.map(columnOf)}
              sort={order.sort}
              isReversed={order.isReversed}
              onSort={(name) => setSort(order.sort === name && !order.isReversed ? `-${name}` : name, true)}
              model={model}
              onModel={setModel}
            />
          )}
        </div>
        {model && <Detail key={model} reference={model} onClose={() => setModel(null)} />}
        {isMakingRoom && (
          <Suspense fallback={null}>
            <Room onClose={() => setMakingRoom(false)} />
          </Suspense>
        )}
      </div>
    </div>
  );
}

function NoWeights({ query, onClear }: { query: string; onClear: () => void }) {
  if (query) {
    return (
      <Empty title="No run that the filter lets through has saved weights">
        <Button onClick={onClear}>Clear the filter</Button>
      </Empty>
    );
  }
  return (
    <Empty
      title="No weights yet"
      text="Two lines in a script keep every model together with the config that made it:"
      command={'saver = hypertuner.Saver(model, monitor="val_loss")\nsaver.save(step)'}
    />
  );
}
