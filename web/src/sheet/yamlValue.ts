/** One value of YAML on its line: plain, quoted, or in brackets. What cannot be read for sure is refused, never guessed. */

import { literal, type Value } from './values';

export type YamlValue = { value: Value } | { problem: string };

class Wrong extends Error {}

/** The value of `text`, without comment and surrounding spaces. */
export function readYamlValue(text: string): YamlValue {
  try {
    return { value: new Reader(text).whole() };
  } catch (error) {
    if (error instanceof Wrong) return { problem: error.message };
    throw error;
  }
}

/** The line up to a comment: a # after a space that stands in no quotes. */
export function withoutComment(line: string): string {
  let quote = '';
  for (let at = 0; at < line.length; at++) {
    const sign = line[at]!;
    const before = line[at - 1] ?? ' ';
    if (quote) {
      if (sign === '\\' && quote === '"') at++;
      else if (sign === quote) quote = '';
    } else if (sign === '#' && /\s/.test(before)) return line.slice(0, at);
    else if (/["']/.test(sign) && /[\s[{,:='"]/.test(before)) quote = sign;
  }
  return line;
}

class Reader {
  private at = 0;

  constructor(private readonly text: string) {}

  whole(): Value {
    if (/^[|>&*!]/.test(this.text)) throw new Wrong(`${this.text[0]} of YAML is not read here: paste JSON instead`);
    if (!/^["'[{]/.test(this.text)) return plain(this.text);
    const value = this.value();
    this.skip();
    if (this.at < this.text.length) throw new Wrong(`${this.text.slice(this.at).slice(0, 40)} stands after the value`);
    return value;
  }

  private value(): Value {
    this.skip();
    const sign = this.text[this.at];
    if (sign === '[') return this.list();
    if (sign === '{') return this.dict();
    return sign === '"' || sign === "'" ? this.quoted(sign) : plain(this.until(/[,[\]{}]/));
  }

  private list(): Value {
    const found: Value[] = [];
    this.at++;
    while (!this.isClosed(']')) {
      found.push(this.value());
      this.comma(']');
    }
    return found;
  }

  private dict(): Value {
    const found: { [key: string]: Value } = {};
    this.at++;
    while (!this.isClosed('}')) {
      const sign = this.text[this.at];
      const key = sign === '"' || sign === "'" ? this.quoted(sign) : this.until(/[:,[\]{}]/);
      this.skip();
      if (key === '' || this.text[this.at] !== ':') throw new Wrong(`${key || '{'} is followed by no 'key: value'`);
      this.at++;
      found[key] = this.value();
      this.comma('}');
    }
    return found;
  }

  private isClosed(end: string): boolean {
    this.skip();
    if (this.at >= this.text.length) throw new Wrong('a bracket is not closed on this line');
    const isIt = this.text[this.at] === end;
    if (isIt) this.at++;
    return isIt;
  }

  private comma(end: string): void {
    this.skip();
    const sign = this.text[this.at];
    if (sign === ',') this.at++;
    else if (sign === undefined) throw new Wrong('a bracket is not closed on this line');
    else if (sign !== end)
      throw new Wrong(`a comma or ${end} is missing before ${this.text.slice(this.at, this.at + 20)}`);
  }

  private quoted(quote: string): string {
    const match = (quote === '"' ? /"(?:[^"\\]|\\.)*"/y : /'(?:[^']|'')*'/y).exec(this.rest());
    if (!match) throw new Wrong('a quote is not closed on this line');
    this.at += match[0].length;
    if (quote === "'") return match[0].slice(1, -1).replace(/''/g, "'");
    try {
      return JSON.parse(match[0]) as string;
    } catch {
      throw new Wrong(`${match[0].slice(0, 40)} has a \\ that is not read here`);
    }
  }

  private rest(): string {
    return this.text.slice(this.at);
  }

  private until(end: RegExp): string {
    const length = this.rest().search(end);
    const word = length < 0 ? this.rest() : this.rest().slice(0, length);
    this.at += word.length;
    return word.trim();
  }

  private skip(): void {
    while (/\s/.test(this.text[this.at] ?? '')) this.at++;
  }
}

function plain(word: string): Value {
  if (word === '') throw new Wrong('a value is missing');
  if (/:(\s|$)/.test(word)) throw new Wrong(`is no single value: ${word.slice(0, 60)}; put it into quotes`);
  return word === '~' ? null : literal(word);
}
