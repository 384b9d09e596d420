// The run panel: who the run is, what can be done with it, and its tabs. A failed run opens on why it failed.
import { Suspense, useMemo } from 'react';
import { may, session } from '../api/session';
import { useStore } from '../api/store';
import { act } from '../app/actions';
import { useKeys } from '../app/keys';
import { part } from '../app/patiently';
import { useRows } from '../app/rows';
import { type RunTab, changeView, openNewRun } from '../app/view';
import { Button, IconButton } from '../parts/Button';
import { Sheet } from '../parts/Dialog';
import { Empty } from '../parts/Empty';
import { duration, moment } from '../parts/format';
import { type MenuItem, showMenu } from '../parts/Menu';
import { RunMark } from '../parts/RunMark';
import { StateWord } from '../parts/StateWord';
import { Tabs } from '../parts/Tabs';
import { RunCharts } from '../places/runs/RunCharts';
import { Attempts } from './Attempts';
import { ConfigTab } from './ConfigTab';
import { Failed } from './Failed';
import { FilesTab } from './FilesTab';
import { Notes } from './Notes';
import { Output } from './Output';
import css from './Panel.module.css';
import { WeightsTab } from './WeightsTab';
import { openNeighbour } from './neighbours';
import { type Detail, useDetail } from './useDetail';

const Media = part(() => import('./Media').then((m) => m.Media));

type Shown = RunTab | 'why';

const close = () => changeView({ open: null, tab: null });

export function Panel({ name, tab }: { name: string; tab: RunTab | null }) {
  const { answer, refusal } = useDetail(name);
  useKeys('panel', { previous: () => void openNeighbour(name, -1), next: () => void openNeighbour(name, 1) });
  const detail = answer?.row.name === name ? answer : null;
  return (
    <Sheet title={detail ? <Title detail={detail} /> : name} width={820} onClose={close}>
      {detail ? (
        <Whole detail={detail} tab={tab} />
      ) : (
        refusal && (
          <Empty
            title={refusal.status === 404 ? `There is no run ${name}` : 'This run cannot be read'}
            text={refusal.message}
          >
            <Button onClick={close}>Close</Button>
          </Empty>
        )
      )}
    </Sheet>
  );
}

function Title({ detail }: { detail: Detail }) {
  const names = useMemo(() => [detail.row.name], [detail.row.name]);
  // As the table has it: it changes with every point that is logged.
  const row = useRows(names)[0] ?? detail.row;
  return (
    <span className={css.title}>
      <RunMark colour={row.colour} mark={row.mark} />
      <span className={css.name}>{row.name}</span>
      <StateWord state={row.state} tip={row.reason} />
      <span className={css.facts} data-tip={`created ${moment(row.created)}`}>
        {row.duration_s !== null && duration(row.duration_s)}
        {row.state === 'running' && row.left_s !== null && ` · about ${duration(row.left_s)} left`}
      </span>
    </span>
  );
}

function Whole({ detail, tab }: { detail: Detail; tab: RunTab | null }) {
  const { row, failure } = detail;
  const shown: Shown = tab ?? (failure ? 'why' : detail.attempts.length === 0 ? 'config' : 'output');
  const own = useMemo(() => [row.name], [row.name]);
  const tabs: { value: Shown; text: string }[] = [
    ...(failure ? [{ value: 'why' as const, text: 'Why it failed' }] : []),
    { value: 'config', text: 'Config' },
    { value: 'charts', text: 'Charts' },
    { value: 'output', text: 'Output' },
    ...(detail.has_media ? [{ value: 'media' as const, text: 'Media' }] : []),
    { value: 'weights', text: detail.checkpoints.length ? `Weights ${detail.checkpoints.length}` : 'Weights' },
    { value: 'files', text: 'Files & environment' },
    { value: 'attempts', text: detail.attempts.length > 1 ? `Attempts ${detail.attempts.length}` : 'Attempts' },
  ];
  return (
    <div className={css.whole}>
      <div className={css.head}>
        <Doing detail={detail} />
        <Notes row={row} />
      </div>
      <Tabs
        label={`Parts of ${row.name}`}
        tabs={tabs}
        value={shown}
        onChange={(next) => changeView({ tab: next === 'why' ? null : next }, true)}
      />
      <div role="tabpanel" aria-label={tabs.find((one) => one.value === shown)?.text} className={css.tab} key={shown}>
        <Suspense fallback={null}>
          {shown === 'why' && failure && <Failed detail={detail} failure={failure} />}
          {shown === 'config' && <ConfigTab detail={detail} />}
          {shown === 'charts' && (
            <div className={css.charts}>
              <RunCharts names={own} isPanel />
            </div>
          )}
          {shown === 'output' && <Output detail={detail} />}
          {shown === 'media' && <Media detail={detail} />}
          {shown === 'weights' && <WeightsTab detail={detail} />}
          {shown === 'files' && <FilesTab detail={detail} />}
          {shown === 'attempts' && <Attempts detail={detail} />}
        </Suspense>
      </div>
    </div>
  );
}

/** What can be done with the run; what cannot be done now is not offered. */
function Doing({ detail }: { detail: Detail }) {
  const who = useStore(session);
  const [mayEdit, mayRun] = [may(who, 'edit'), may(who, 'run')];
  const { row } = detail;
  const newest = [...detail.checkpoints].reverse().find((one) => one.problem === null);
  const best = detail.checkpoints.find((one) => one.is_offered && one.problem === null) ?? newest;
  const trained = [...detail.checkpoints].reverse().find((one) => one.has_training && one.problem === null);
  const duplicate = () => openNewRun({ run: row.name });
  const fromWeights = () => best && openNewRun({ run: row.name, parent: best.reference });
  const fork = () => trained && openNewRun({ run: row.name, parent: trained.reference, how: 'fork' });
  useKeys('run', {
    duplicate,
    fromWeights: () => void fromWeights(),
    remove: () => mayRun && void remove(row.name),
  });
  const more: MenuItem[] = [
    ...(['failed', 'crashed', 'stopped', 'finished', 'pruned'].includes(row.state)
      ? [
          {
            text: 'Queue again: a new run like it',
            icon: 'again' as const,
            run: () => void act('requeue', [row.name]),
            disabled: mayRun ? null : 'This link may only look',
          },
        ]
      : []),
    ...(detail.can_resume && row.state === 'finished'
      ? [
          {
            text: 'Resume: the same run goes on',
            icon: 'play' as const,
            run: () => void act('resume', [row.name]),
            disabled: mayRun ? null : 'This link may only look',
          },
        ]
      : []),
    {
      text: 'Fork: go on where it was, as a new run',
      icon: 'fork',
      run: () => void fork(),
      disabled: trained ? null : 'It has saved no training state',
    },
    {
      text: row.archived ? 'Take out of the archive' : 'Archive',
      icon: 'archive',
      run: () => void act(row.archived ? 'unarchive' : 'archive', [row.name]),
      disabled: mayEdit ? null : 'This link may only look',
    },
    {
      text: 'Delete',
      icon: 'trash',
      keys: 'Delete',
      isDanger: true,
      line: true,
      run: () => void remove(row.name),
      disabled: mayRun ? null : 'This link may only look',
    },
  ];
  return (
    <div className={css.doing}>
      <IconButton
        icon="star"
        label={row.starred ? 'Take the star away' : 'Star'}
        isOn={row.starred}
        fill={row.starred}
        disabled={!mayEdit}
        onClick={() => void act(row.starred ? 'unstar' : 'star', [row.name])}
      />
      {row.state === 'running' && (
        <Button
          size="small"
          icon="stop"
          disabled={!mayRun}
          tip="It saves first"
          onClick={() => void act('stop', [row.name])}
        >
          Stop
        </Button>
      )}
      {detail.can_resume && row.state !== 'finished' && (
        <Button
          size="small"
          icon="play"
          disabled={!mayRun}
          tip="The same run goes on from its last checkpoint"
          onClick={() => void act('resume', [row.name])}
        >
          Resume
        </Button>
      )}
      {row.state === 'draft' && !detail.is_waiting && (
        <Button
          size="small"
          kind="primary"
          icon="play"
          disabled={!mayRun}
          onClick={() => void act('requeue', [row.name])}
        >
          Queue it
        </Button>
      )}
      {detail.is_waiting && (
        <Button
          size="small"
          icon="close"
          disabled={!mayRun}
          tip="It leaves the queue and stays as a draft"
          onClick={() => void act('withdraw', [row.name])}
        >
          Withdraw
        </Button>
      )}
      <Button size="small" icon="copy" keys="d" onClick={duplicate}>
        Duplicate
      </Button>
      {best && (
        <Button size="small" icon="weights" keys="w" tip={`New run from ${best.reference}`} onClick={fromWeights}>
          From weights
        </Button>
      )}
      <IconButton
        icon="more"
        label="More to do"
        onClick={(event) => showMenu(event.currentTarget, `More to do with ${row.name}`, more)}
      />
      <span className={css.grow} />
      <IconButton icon="up" label="Previous run" keys="[" onClick={() => void openNeighbour(row.name, -1)} />
      <IconButton icon="down" label="Next run" keys="]" onClick={() => void openNeighbour(row.name, 1)} />
    </div>
  );
}

async function remove(name: string): Promise<void> {
  const done = await act('trash', [name]);
  if (done?.done.includes(name)) close();
}
