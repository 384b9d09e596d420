// The New run sheet: script, where it begins, settings as typed rows, and buttons that say how many runs they make.
import { Suspense, useEffect, useMemo, useRef, useState } from 'react';
import { Refusal } from '../api/ask';
import { may, session } from '../api/session';
import { useStore } from '../api/store';
import { useKeys } from '../app/keys';
import { part } from '../app/patiently';
import { type NewRunFrom, closeNewRun } from '../app/view';
import { Button } from '../parts/Button';
import { Sheet } from '../parts/Dialog';
import { Select } from '../parts/Field';
import { names } from '../parts/names';
import { AddSetting } from './AddSetting';
import { SettingRow } from './SettingRow';
import css from './Sheet.module.css';
import { StartFrom } from './StartFrom';
import { type Draft, dropDraft, draftOf, holdDraft } from './draft';
import { type Mode, launch } from './launch';
import { addedRow, changedFirst, makeRows, readRows, sumOf, withPasted } from './rows';
import { countRuns, effect } from './several';
import { useCheck } from './useCheck';
import type { Origin } from './useOrigin';
import { spell } from './values';

// It reads YAML by a library larger than the sheet.
const PasteBox = part(() => import('./PasteBox').then((m) => m.PasteBox));

interface Props {
  title: string;
  from: NewRunFrom;
  origin: Origin;
}

export function NewRun({ title, from, origin }: Props) {
  const who = useStore(session);
  const originKey = JSON.stringify(from);
  const [draft, setDraft] = useState<Draft>(() => draftOf(originKey) ?? beginning(from, origin));
  const [wasHeld, setWasHeld] = useState(() => draftOf(originKey) !== null);
  const [isPasting, setPasting] = useState(false);
  const [isLaunching, setLaunching] = useState<Mode | null>(null);
  const [trouble, setTrouble] = useState<string | null>(null);
  const formRef = useRef<HTMLDivElement>(null);
  const change = (patch: Partial<Draft>) => {
    setTrouble(null);
    setDraft((before) => {
      const after = { ...before, ...patch };
      holdDraft(originKey, after);
      return after;
    });
  };

  const asked = useMemo(() => readRows(draft.rows), [draft.rows]);
  const runs = countRuns(asked.several, draft.seeds);
  const isFrom = draft.how !== 'scratch' && draft.parent !== '';
  const isReady = Object.keys(asked.problems).length === 0 && (draft.how === 'scratch' || isFrom);
  const body = {
    script: origin.run ? null : draft.script,
    from_run: origin.run?.row.name ?? null,
    config: asked.config,
    several: asked.several,
    seeds: draft.seeds,
    parent: isFrom ? draft.parent : null,
    how: isFrom ? draft.how : ('scratch' as const),
    name: draft.name.trim() || null,
    tags: draft.tags.split(/[\s,]+/).filter(Boolean),
  };
  // What is wrong already is left out of it, so that the rest is still checked.
  const { checked, refusal, isStale } = useCheck(body);
  const saidOf = (key: string, isWarning: boolean) =>
    key in asked.problems
      ? null
      : (checked?.problems.find((one) => one.key === key && one.is_warning === isWarning)?.message ?? null);
  const general =
    checked?.problems.filter((one) => one.key === '' || !draft.rows.some((row) => row.key === one.key)) ?? [];
  const neverRead = new Set(checked?.never_read);
  const isWrong = !isReady || (checked?.problems.some((one) => !one.is_warning) ?? false);

  useEffect(() => {
    formRef.current?.querySelector<HTMLInputElement>('[data-first]')?.focus({ preventScroll: true });
  }, []);

  const go = async (mode: Mode) => {
    if (isLaunching) return;
    if (isWrong) {
      const first = formRef.current?.querySelector<HTMLElement>('[aria-invalid="true"]');
      first?.focus();
      setTrouble(
        first
          ? null
          : draft.how !== 'scratch' && draft.parent === ''
            ? 'Choose the checkpoint that it starts from.'
            : (general[0]?.message ?? null),
      );
      return;
    }
    setLaunching(mode);
    try {
      await launch({ ...body, mode });
      dropDraft(originKey);
      closeNewRun();
    } catch (cause) {
      if (!(cause instanceof Refusal)) throw cause;
      setTrouble(cause.message);
      setLaunching(null);
    }
  };
  const mayRun = may(who, 'run');
  useKeys('newRun', { now: () => void go('now'), queue: () => void go('queue'), draft: () => void go('draft') });
  const startOver = () => {
    dropDraft(originKey);
    setDraft(beginning(from, origin));
    setWasHeld(false);
  };
  const setText = (key: string, text: string) =>
    change({ rows: draft.rows.map((row) => (row.key === key ? { ...row, text } : row)) });
  const reset = (key: string) =>
    change({
      rows: draft.rows.flatMap((row) =>
        row.key !== key
          ? [row]
          : row.isAdded
            ? []
            : [{ ...row, text: row.before === undefined ? '' : spell(row.before, row.kind) }],
      ),
    });
  const firstInput = draft.rows.find((row) => row.kind !== 'bool')?.key;
  const scripts = origin.scripts;
  const many = runs > 1;

  return (
    <Sheet
      title={title}
      onClose={closeNewRun}
      footer={
        <div className={css.footer}>
          {trouble && (
            <p className={css.trouble} role="alert">
              {trouble}
            </p>
          )}
          <div className={css.sum}>
            <span>{sumOf(draft.rows)}</span>
            <Seeds seeds={draft.seeds} onChange={(seeds) => change({ seeds })} />
          </div>
          <div className={css.buttons}>
            <Button keys="Mod+s" kind="quiet" disabled={!may(who, 'edit')} onClick={() => void go('draft')}>
              {effect('Save', runs, 'Save draft')}
            </Button>
            <span className={css.grow} />
            <Button
              keys="Shift+Enter"
              kind={many ? 'primary' : 'plain'}
              disabled={!mayRun}
              onClick={() => void go('queue')}
              tip={mayRun ? undefined : 'This link may look, but not start runs'}
            >
              {effect('Queue', runs, 'Queue')}
            </Button>
            <Button
              keys="Mod+Enter"
              kind={many ? 'plain' : 'primary'}
              disabled={!mayRun}
              onClick={() => void go('now')}
            >
              {isLaunching === 'now' ? 'Starting…' : effect('Run', runs, 'Run now')}
            </Button>
          </div>
        </div>
      }
    >
      <div ref={formRef} className={css.form}>
        {wasHeld && (
          <p className={css.held}>
            What you had typed is still here.{' '}
            <button type="button" className={css.link} onClick={startOver}>
              Start over
            </button>
          </p>
        )}
        <div className={css.top}>
          {origin.run ? (
            <span className={css.script}>
              <span className={css.label}>Script</span> <code>{origin.run.row.script ?? 'unknown'}</code>
              <span className={css.hint}>as it was in {origin.run.row.name}</span>
            </span>
          ) : (
            <Select
              label="Script"
              value={draft.script ?? ''}
              options={scripts.map((one) => ({ value: one.id, text: one.name }))}
              onChange={(script) =>
                change({ script, rows: makeRows(scripts.find((one) => one.id === script) ?? null, null) })
              }
            />
          )}
        </div>
        <ScriptSays script={origin.run ? null : (scripts.find((one) => one.id === draft.script) ?? null)} />
        <StartFrom
          how={draft.how}
          parent={draft.parent}
          checked={isFrom ? checked : null}
          onChange={(how, parent) => change({ how, parent })}
        />
        <section aria-label="Settings" className={css.rows}>
          {draft.rows.map((row) => (
            <SettingRow
              key={row.key}
              row={neverRead.has(row.key) && row.isRead !== false ? { ...row, isRead: false } : row}
              isFirst={row.key === firstInput}
              error={asked.problems[row.key] ?? saidOf(row.key, false)}
              warning={asked.warnings[row.key] ?? saidOf(row.key, true)}
              onText={setText}
              onReset={reset}
            />
          ))}
        </section>
        {isPasting ? (
          <Suspense fallback={null}>
            <PasteBox
              onClose={() => setPasting(false)}
              onUse={(config) => {
                change({ rows: withPasted(draft.rows, config) });
                setPasting(false);
              }}
            />
          </Suspense>
        ) : (
          <div className={css.more}>
            <AddSetting rows={draft.rows} onAdd={(key) => change({ rows: [...draft.rows, addedRow(key)] })} />
            <Button size="small" kind="quiet" onClick={() => setPasting(true)}>
              Paste JSON or YAML
            </Button>
          </div>
        )}
        <details className={css.details}>
          <summary>Name and tags</summary>
          <div className={css.pair}>
            <label>
              <span className={css.label}>Name</span>
              <input
                className={css.input}
                value={draft.name}
                placeholder="found by itself"
                spellCheck={false}
                onChange={(event) => change({ name: event.target.value })}
              />
            </label>
            <label>
              <span className={css.label}>Tags</span>
              <input
                className={css.input}
                value={draft.tags}
                placeholder="base, wide"
                spellCheck={false}
                onChange={(event) => change({ tags: event.target.value })}
              />
            </label>
          </div>
        </details>
        <div role="status" aria-live="polite" className={names(css.general, isStale && css.stale)}>
          {general.map((one) => (
            <p key={one.message} className={one.is_warning ? css.warning : css.error}>
              {one.message}
            </p>
          ))}
          {refusal && <p className={css.error}>{refusal.message}</p>}
        </div>
      </div>
    </Sheet>
  );
}

function beginning(from: NewRunFrom, origin: Origin): Draft {
  const newest = origin.scripts.reduce<Origin['scripts'][number] | null>(
    (best, one) => (one.runs > (best?.runs ?? -1) ? one : best),
    null,
  );
  const script = origin.run ? (origin.scripts.find((one) => one.name === origin.run?.row.script) ?? null) : newest;
  const rows = makeRows(script, origin.run?.config ?? null);
  const filled = Object.entries(from.set ?? {}).reduce(
    (all, [key, text]) => all.map((row) => (row.key === key ? { ...row, text } : row)),
    rows,
  );
  return {
    script: script?.id ?? null,
    rows: changedFirst(filled),
    seeds: 1,
    how: from.parent ? (from.how ?? 'weights') : 'scratch',
    parent: from.parent ?? '',
    name: '',
    tags: '',
  };
}

function ScriptSays({ script }: { script: Origin['scripts'][number] | null }) {
  if (!script) return null;
  if (script.problem) return <p className={css.error}>{script.problem}</p>;
  const said = {
    Args: 'Settings and defaults as its Args declares them.',
    argparse: 'Settings and defaults as its argparse parser declares them.',
    dataclass: 'Settings and defaults as its dataclass declares them.',
    runs: `Settings as ${script.newest_run ?? 'its last run'} had them: the script itself declares none that can be read.`,
    nothing: 'This script declares no settings that can be read without running it. Add what it needs.',
  }[script.declared_by];
  return <p className={css.hint}>{said}</p>;
}

function Seeds({ seeds, onChange }: { seeds: number; onChange: (seeds: number) => void }) {
  return (
    <label className={css.seeds} data-tip="How many seeds: each combination runs that often, with seed 0, 1, …">
      ×
      <input
        type="number"
        min={1}
        max={1000}
        value={seeds}
        aria-label="Seeds"
        onChange={(event) => onChange(Math.max(1, Math.min(1000, Math.round(Number(event.target.value)) || 1)))}
      />
      {seeds === 1 ? 'seed' : 'seeds'}
    </label>
  );
}
