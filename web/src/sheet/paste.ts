/** Settings out of pasted text: JSON, plain YAML, or `key=value` lines. Keys of nested ones are dotted. */

import type { Value } from './values';
import { readYamlValue, withoutComment } from './yamlValue';

export type Pasted = { config: Record<string, Value> } | { problem: string; line: number | null };

/** The settings, or what is wrong and in which line. */
export function readPasted(text: string): Pasted {
  const trimmed = text.trim();
  if (trimmed === '') return { problem: 'There is nothing here yet: paste JSON or YAML.', line: null };
  return trimmed.startsWith('{') ? readJson(trimmed) : readYaml(text);
}

function readJson(text: string): Pasted {
  let value: Value;
  try {
    value = JSON.parse(text) as Value;
  } catch (error) {
    const at = /position (\d+)/.exec(String(error));
    const line = at ? text.slice(0, Number(at[1])).split('\n').length : null;
    return { problem: `This is no JSON: ${String((error as Error).message)}`, line };
  }
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? { config: flat(value) }
    : { problem: 'Settings are an object: {"lr": 0.1}', line: 1 };
}

/** A nested object under dotted keys; an empty one stays a value. */
export function flat(value: { [key: string]: unknown }, prefix = ''): Record<string, Value> {
  const found: Record<string, Value> = {};
  for (const [key, inner] of Object.entries(value)) {
    const isGroup =
      typeof inner === 'object' && inner !== null && !Array.isArray(inner) && Object.keys(inner).length > 0;
    if (isGroup) Object.assign(found, flat(inner as { [key: string]: unknown }, `${prefix}${key}.`));
    else found[prefix + key] = inner as Value;
  }
  return found;
}

interface Open {
  indent: number;
  prefix: string;
}

const NESTED_LIST = { problem: 'a list of lists is written in brackets here: [[1, 2], [3]]' };

function readYaml(text: string): Pasted {
  const config: Record<string, Value> = {};
  const lines = text.replace(/\t/g, '  ').split(/\r?\n/);
  let open: Open[] = [{ indent: -1, prefix: '' }];
  let deepest = Infinity;
  let waiting: { key: string; indent: number } | null = null;
  for (const [at, raw] of lines.entries()) {
    const line = withoutComment(raw).trimEnd();
    const word = line.trim();
    if (word === '' || word === '---' || word === '...') continue;
    const indent = line.length - line.trimStart().length;
    if (/^-(\s|$)/.test(word)) {
      if (!waiting || indent < waiting.indent) return { problem: 'a list needs a key before it', line: at + 1 };
      const list = (config[waiting.key] ??= []);
      if (!Array.isArray(list)) return { problem: 'a list and settings stand under one key', line: at + 1 };
      const item = word.slice(1).trim();
      const read = /^-(\s|$)/.test(item) ? NESTED_LIST : readYamlValue(item);
      if ('problem' in read) return { problem: read.problem, line: at + 1 };
      list.push(read.value);
      continue;
    }
    const match = /^("[^"]*"|'[^']*'|[^\s:="'[\]{}]+)\s*(?::(?:\s+(.*))?|=(.*))$/.exec(word);
    if (!match) return { problem: `is no 'key: value': ${word.slice(0, 60)}`, line: at + 1 };
    if (waiting && indent > waiting.indent && config[waiting.key] === undefined) {
      open.push({ indent: waiting.indent, prefix: `${waiting.key}.` });
    } else {
      if (indent > deepest) return { problem: 'is indented under a key that has a value already', line: at + 1 };
      if (waiting) config[waiting.key] ??= null;
    }
    waiting = null;
    deepest = indent;
    open = open.filter((one) => one.indent < indent);
    const prefix = open[open.length - 1]?.prefix ?? '';
    const key = prefix + match[1]!.replace(/^["']|["']$/g, '');
    const value = (match[2] ?? match[3] ?? '').trim();
    if (value === '') {
      waiting = { key, indent };
      continue;
    }
    const read = readYamlValue(value);
    if ('problem' in read) return { problem: read.problem, line: at + 1 };
    Object.assign(config, flat({ [key]: read.value }));
  }
  if (waiting) config[waiting.key] ??= null;
  return Object.keys(config).length ? { config } : { problem: 'There are no settings in it.', line: null };
}
