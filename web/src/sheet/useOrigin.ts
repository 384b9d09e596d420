// What a new run comes from: the scripts that may be started, and the run that is copied, if any.
import { useEffect } from 'react';
import { useGet } from '../api/use';
import type { Refusal } from '../api/ask';
import type { Schema } from '../api/types';
import type { NewRunFrom } from '../app/view';
import { live } from '../live/live';

export interface Origin {
  scripts: Schema<'ScriptView'>[];
  run: Schema<'RunDetail'> | null;
}

/** The run whose config is copied: the one that is named, else the parent's. */
export function runOf(from: NewRunFrom): string | null {
  return from.run ?? from.parent?.split('@')[0] ?? null;
}

export function useOrigin(from: NewRunFrom): { origin: Origin | null; refusal: Refusal | null } {
  const name = runOf(from);
  const scripts = useGet<Schema<'Scripts'>>('/api/scripts');
  const run = useGet<Schema<'RunDetail'>>(name === null ? null : `/api/runs/${encodeURIComponent(name)}`);
  const refusal = scripts.refusal ?? (name === null ? null : run.refusal);
  const isReady = scripts.answer !== null && (name === null || run.answer?.row.name === name);
  const againScripts = scripts.again;
  const againRun = run.again;
  useEffect(() => {
    if (isReady) return undefined;
    return live.onAgain(() => {
      againScripts();
      againRun();
    });
  }, [isReady, againScripts, againRun]);
  return {
    origin: isReady ? { scripts: scripts.answer!.scripts, run: name === null ? null : run.answer } : null,
    refusal,
  };
}
