// The frame around the four places: the bar at the top, what opens over all of them, and keys that work everywhere.
import { Suspense, useEffect, useMemo, useState } from 'react';
import { Refusal } from '../api/ask';
import { session } from '../api/session';
import { useStore } from '../api/store';
import { Empty } from '../parts/Empty';
import { MenuHost } from '../parts/Menu';
import { ToastHost } from '../parts/Toast';
import { TooltipHost } from '../parts/Tooltip';
import { Runs } from '../places/runs/Runs';
import css from './App.module.css';
import { part } from './patiently';
import { ConnectionBar } from './ConnectionBar';
import { KeyList } from './KeyList';
import { Palette } from './Palette';
import { Speaker } from './Speaker';
import { useFilterSelection } from './selection';
import { TopBar } from './TopBar';
import { Tour } from './Tour';
import { useKeys } from './keys';
import { nextTheme } from './theme';
import { type Params, type Place, type Url, go, url, usePlace } from './url';
import { openNewRun, readNewRun, useView } from './view';

const readNewRunSheet = () => import('./NewRunSheet').then((m) => m.NewRunSheet);
const NewRunSheet = part(readNewRunSheet);
const Insight = part(() => import('../places/Insight').then((m) => m.Insight));
const Models = part(() => import('../places/Models').then((m) => m.Models));
const Queue = part(() => import('../places/Queue').then((m) => m.Queue));
const RunPanel = part(() => import('./RunPanel').then((m) => m.RunPanel));

const SHOWN: Record<Place, React.ComponentType> = { runs: Runs, insight: Insight, models: Models, queue: Queue };

export function App() {
  const place = usePlace();
  const who = useStore(session);
  const [view] = useView('open', 'tab');
  const asked = useStore(url, newRunOf);
  const newRun = useMemo(() => readNewRun(JSON.parse(asked) as Params), [asked]);
  const [open, setOpen] = useState<'palette' | 'keys' | null>(null);
  const to = (one: Place) => () => go({}, { place: one });
  useKeys('page', {
    commands: () => setOpen('palette'),
    list: () => setOpen('keys'),
    newRun: () => openNewRun(),
    runs: to('runs'),
    insight: to('insight'),
    models: to('models'),
    queue: to('queue'),
    theme: nextTheme,
  });
  useFilterSelection();
  // It opens also while the server is gone, so it is here before it is asked for; after what is looked at first.
  useEffect(() => {
    if (who === null) return undefined;
    const later = setTimeout(() => void readNewRunSheet().catch(() => undefined), 1000);
    return () => clearTimeout(later);
  }, [who]);
  const project = who && !(who instanceof Refusal) ? who.project : '';
  useEffect(() => {
    document.title = [view.open ?? TITLES[place], project || 'hypertuner'].join(' · ');
  }, [view.open, place, project]);
  const Shown = SHOWN[place];
  return (
    <div className={css.app}>
      <a className={css.skip} href="#place">
        Skip to the content
      </a>
      <TopBar onPalette={() => setOpen('palette')} onKeys={() => setOpen('keys')} />
      <ConnectionBar />
      <main id="place" tabIndex={-1} className={css.place} aria-label={TITLES[place]}>
        <h1 className="unseen">{TITLES[place]}</h1>
        {who instanceof Refusal ? (
          <NotIn refusal={who} />
        ) : (
          who !== null && (
            <Suspense fallback={null}>
              <Shown />
            </Suspense>
          )
        )}
      </main>
      <Suspense fallback={null}>
        {view.open !== null && <RunPanel key={view.open} name={view.open} tab={view.tab} />}
        {newRun && <NewRunSheet from={newRun} />}
      </Suspense>
      {open === 'palette' && <Palette onClose={() => setOpen(null)} />}
      {open === 'keys' && <KeyList onClose={() => setOpen(null)} />}
      <Tour />
      <MenuHost />
      <ToastHost />
      <TooltipHost />
      <Speaker />
    </div>
  );
}

export const TITLES: Record<Place, string> = { runs: 'Runs', insight: 'Insight', models: 'Models', queue: 'Queue' };
const newRunOf = ({ params }: Url) =>
  JSON.stringify({ new: params['new'], parent: params['parent'], how: params['how'], set: params['set'] });

function NotIn({ refusal }: { refusal: Refusal }) {
  if (refusal.status === 401)
    return (
      <Empty
        title="This page needs the link that hypertuner printed"
        text="The link carries a token, so that nobody else on this machine can start runs. Open it once; after that, bookmarks work, too."
        command="hypertuner"
      />
    );
  return <Empty title="hypertuner does not answer" text={refusal.message} command="hypertuner" />;
}
