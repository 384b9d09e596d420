// Where one is, what the machine does, and the two things one may always do: give a command, start a run.
import { Refusal } from '../api/ask';
import { session, whyNot } from '../api/session';
import { useStore } from '../api/store';
import { machineNow, queueNow } from '../live/now';
import { Button, IconButton } from '../parts/Button';
import { bytes, percent } from '../parts/format';
import { names } from '../parts/names';
import { TITLES } from './App';
import css from './TopBar.module.css';
import { nextTheme, theme } from './theme';
import { PLACES, formatUrl, go, url, usePlace } from './url';
import { openNewRun } from './view';

export function TopBar({ onPalette, onKeys }: { onPalette: () => void; onKeys: () => void }) {
  const place = usePlace();
  const who = useStore(session);
  const { params } = useStore(url);
  const chosen = useStore(theme);
  const no = who === null ? null : whyNot(who, 'edit');
  const project = who && !(who instanceof Refusal) ? who.project : '';
  return (
    <header className={css.bar}>
      <a
        className={css.name}
        href="/runs"
        onClick={here('runs')}
        data-tip={who instanceof Refusal ? undefined : who?.storage}
      >
        <Logo />
        <span>{project || 'hypertuner'}</span>
      </a>
      <nav aria-label="Places" className={css.places}>
        {PLACES.map((one) => (
          <a
            key={one}
            href={formatUrl({ place: one, params })}
            aria-current={one === place ? 'page' : undefined}
            onClick={here(one)}
          >
            {TITLES[one]}
            {one === 'queue' && <QueueCount />}
          </a>
        ))}
      </nav>
      <Machine />
      <button type="button" className={css.command} onClick={onPalette}>
        Commands <kbd>{navigator.platform.startsWith('Mac') ? '⌘K' : 'Ctrl K'}</kbd>
      </button>
      <div className={css.tools}>
        <IconButton icon="keyboard" label="Keys" keys="?" onClick={onKeys} />
        <IconButton
          icon={chosen === 'auto' ? 'auto' : chosen === 'dark' ? 'moon' : 'sun'}
          label={`Theme: ${chosen === 'auto' ? 'as the system' : chosen}`}
          keys="t"
          onClick={nextTheme}
        />
      </div>
      <Button kind="primary" keys="n" disabled={no !== null} tip={no ?? undefined} onClick={() => openNewRun()}>
        New run
      </Button>
    </header>
  );
}

function here(place: (typeof PLACES)[number]) {
  return (event: React.MouseEvent) => {
    if (event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    go({}, { place });
  };
}

function QueueCount() {
  const waiting = useStore(queueNow, (queue) => queue?.waiting.length ?? 0);
  const running = useStore(queueNow, (queue) => queue?.running.length ?? 0);
  if (!waiting && !running) return null;
  return (
    <span className={css.count} data-tip={`${running} running, ${waiting} waiting`}>
      {waiting + running}
    </span>
  );
}

function Machine() {
  const sample = useStore(machineNow);
  if (!sample) return <div className={css.machine} />;
  const cpu = sample.cpu.reduce((sum, share) => sum + share, 0) / Math.max(1, sample.cpu.length);
  return (
    <a
      className={css.machine}
      href="/queue"
      onClick={here('queue')}
      aria-label="The machine"
      data-tip="The machine, over the last ten minutes"
    >
      <Gauge name="CPU" share={cpu} text={percent(cpu)} />
      {sample.gpus.slice(0, 2).map((gpu) => (
        <Gauge
          key={gpu.id}
          name={sample.gpus.length > 1 ? `GPU ${gpu.id}` : 'GPU'}
          share={gpu.used_share}
          text={`${gpu.used_share === null ? '' : percent(gpu.used_share)} ${gpu.memory_used_bytes === null ? '' : bytes(gpu.memory_used_bytes)}`}
        />
      ))}
      <Gauge
        name="RAM"
        share={sample.memory_used_bytes / Math.max(1, sample.memory_bytes)}
        text={bytes(sample.memory_used_bytes)}
      />
    </a>
  );
}

function Gauge({ name, share, text }: { name: string; share: number | null; text: string }) {
  return (
    <span className={css.gauge}>
      <span>{name}</span>
      <svg width="26" height="4" aria-hidden="true">
        <rect width="26" height="4" rx="2" className={css.track} />
        <rect
          width={26 * Math.min(1, share ?? 0)}
          height="4"
          rx="2"
          className={names(css.level, (share ?? 0) > 0.92 && css.high)}
        />
      </svg>
      <span className={css.figure}>{text}</span>
    </span>
  );
}

function Logo() {
  return (
    <svg width="20" height="20" viewBox="0 0 32 32" aria-hidden="true">
      <rect width="32" height="32" rx="7" className={css.tile} />
      <path d="M5 8c4 11 8 14 22 15" fill="none" stroke="#fff" strokeWidth="2.8" strokeLinecap="round" />
      <path
        d="M5 8c6 5 12 6 22 6"
        fill="none"
        stroke="#fff"
        strokeOpacity=".55"
        strokeWidth="2.4"
        strokeLinecap="round"
      />
      <path d="M14 22l2.6-4.6 2.6 4.6z" fill="#ffc44d" />
    </svg>
  );
}
