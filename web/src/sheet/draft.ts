// What was typed into the New run sheet outlives its closing: opened again from the same run, it is there again.
import type { Row } from './rows';

export interface Draft {
  script: string | null;
  rows: Row[];
  seeds: number;
  how: 'scratch' | 'weights' | 'fork';
  parent: string;
  name: string;
  tags: string;
}

const held = new Map<string, Draft>();

export function draftOf(origin: string): Draft | null {
  return held.get(origin) ?? null;
}

export function holdDraft(origin: string, draft: Draft): void {
  held.delete(origin);
  held.set(origin, draft);
  const oldest = held.keys().next().value;
  if (held.size > 20 && oldest !== undefined) held.delete(oldest);
}

export function dropDraft(origin: string): void {
  held.delete(origin);
}
