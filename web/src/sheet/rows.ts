// The settings of a new run as rows of the sheet, and what they ask of the server.
import type { Schema, Value } from '../api/types';
import { list, readField } from './several';
import { isSame, kindOf, spell, type Kind } from './values';

export interface Row {
  key: string;
  kind: Kind;
  text: string;
  /** What the run it comes from had, or the script's default; undefined: neither has it. */
  before: Value | undefined;
  choices: Value[];
  help: string;
  /** Whether the script reads it; null where nothing is known. */
  isRead: boolean | null;
  isAdded: boolean;
}

export type ScriptView = Schema<'ScriptView'>;
export type ConfigEntry = Schema<'ConfigEntry'>;

/** Rows of a run's config in the order of its script, and of what its script declares beyond it; of the script alone without a run. */
export function makeRows(script: ScriptView | null, config: readonly ConfigEntry[] | null): Row[] {
  const declared = new Map((script?.settings ?? []).map((setting) => [setting.key, setting]));
  const order = [...declared.keys()];
  const placeOf = (entry: ConfigEntry) => (declared.has(entry.key) ? order.indexOf(entry.key) : order.length);
  const rows: Row[] = [];
  for (const entry of [...(config ?? [])].sort((a, b) => placeOf(a) - placeOf(b))) {
    const setting = declared.get(entry.key);
    const value = entry.value as Value;
    rows.push(row(entry.key, kindIn(setting?.kind, value), value, setting, entry.is_read));
    declared.delete(entry.key);
  }
  for (const setting of declared.values()) {
    const value = setting.has_default ? (setting.default as Value) : undefined;
    rows.push(row(setting.key, kindIn(setting.kind, value), value, setting, setting.is_read));
  }
  return rows;
}

function kindIn(declared: Kind | undefined, value: Value | undefined): Kind {
  if (declared && declared !== 'unknown') return declared;
  return value === undefined || value === null ? 'unknown' : kindOf(value);
}

type Setting = Schema<'ScriptSetting'>;

function row(
  key: string,
  kind: Kind,
  before: Value | undefined,
  setting: Setting | undefined,
  isRead: boolean | null,
): Row {
  return {
    key,
    kind,
    text: before === undefined ? '' : spell(before, kind),
    before,
    choices: (setting?.choices ?? []) as Value[],
    help: setting?.help ?? '',
    isRead,
    isAdded: false,
  };
}

/** A row of a key that neither run nor script has. */
export function addedRow(key: string, value?: Value): Row {
  const kind = value === undefined || value === null ? 'unknown' : kindOf(value);
  return {
    key,
    kind,
    text: value === undefined ? '' : spell(value, kind),
    before: undefined,
    choices: [],
    help: '',
    isRead: null,
    isAdded: true,
  };
}

/** The rows with pasted settings in them; changed ones first. */
export function withPasted(rows: readonly Row[], config: Record<string, Value>): Row[] {
  const left = new Map(Object.entries(config));
  const filled = rows.map((one) => {
    if (!left.has(one.key)) return one;
    const value = left.get(one.key)!;
    left.delete(one.key);
    const kind = one.kind === 'int' && typeof value === 'number' && !Number.isInteger(value) ? 'float' : one.kind;
    return { ...one, kind, text: spell(value, kind) };
  });
  return changedFirst([...filled, ...[...left].map(([key, value]) => addedRow(key, value))]);
}

export function changedFirst(rows: readonly Row[]): Row[] {
  return [...rows.filter(isChanged), ...rows.filter((one) => !isChanged(one))];
}

/** Whether a row asks for something else than what was before. */
export function isChanged(one: Row): boolean {
  if (one.isAdded) return true;
  if (one.before !== undefined && one.text === spell(one.before, one.kind)) return false;
  if (one.before === undefined) return one.text.trim() !== '';
  const read = readField(one.text, one.kind);
  return !('values' in read) || read.values.length !== 1 || !isSame(read.values[0], one.before);
}

export interface AskedRows {
  /** Settings with one value that differ from what was before. */
  config: Record<string, Value>;
  /** Settings with several values. */
  several: Record<string, Value[]>;
  problems: Record<string, string>;
  warnings: Record<string, string>;
}

/** What the rows ask for. A row without a default that is left empty asks for nothing. */
export function readRows(rows: readonly Row[]): AskedRows {
  const asked: AskedRows = { config: {}, several: {}, problems: {}, warnings: {} };
  for (const one of rows) {
    if (!isChanged(one)) continue;
    const read = readField(one.text, one.kind);
    if ('problem' in read) asked.problems[one.key] = read.problem;
    else if (read.values.length > 1) asked.several[one.key] = read.values;
    else asked.config[one.key] = read.values[0]!;
    if ('warning' in read && read.warning) asked.warnings[one.key] = read.warning;
  }
  return asked;
}

/** Why a key cannot be added; null where it can. */
export function problemOfKey(key: string, rows: readonly Row[]): string | null {
  if (key === '') return null;
  if (rows.some((one) => one.key === key)) return 'is there already';
  return /^[A-Za-z_][\w.\-/]*$/.test(key) ? null : 'begins with a letter; letters, digits, _ . - / follow';
}

const MOST_SUMMED = 2;

/** 'lr 3e-4 → [1e-4, 1e-3] × depth 2 → [4, 8]', so that what one starts is said once more beside the button. */
export function sumOf(rows: readonly Row[]): string {
  const changed = rows.filter(isChanged).map((row) => ({ row, read: readField(row.text, row.kind) }));
  if (changed.length === 0) return 'Nothing is changed';
  const isMany = ({ read }: (typeof changed)[number]) => 'values' in read && read.values.length > 1;
  const said = [...changed.filter((one) => !isMany(one)), ...changed.filter(isMany)].slice(0, MOST_SUMMED);
  const text = said.map((one, at) => {
    const { row, read } = one;
    const before = row.isAdded || row.before === undefined ? '' : `${spell(row.before, row.kind)} → `;
    const after = 'values' in read && read.values.length > 1 ? `[${list(read.values)}]` : row.text;
    return `${at === 0 ? '' : isMany(said[at - 1]!) ? ' × ' : ', '}${row.key} ${before}${after}`;
  });
  return text.join('') + (changed.length > said.length ? ` and ${changed.length - said.length} more` : '');
}
