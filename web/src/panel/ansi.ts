/** Text with control sequences of a terminal, as spans that say which colour; every other sequence is dropped. */

export interface Span {
  text: string;
  /** 0–15, as terminals number them; null is the text's own colour. */
  colour: number | null;
  background: number | null;
  isBold: boolean;
  isDim: boolean;
  isItalic: boolean;
  isUnderlined: boolean;
}

type Style = Omit<Span, 'text'>;

const PLAIN: Style = {
  colour: null,
  background: null,
  isBold: false,
  isDim: false,
  isItalic: false,
  isUnderlined: false,
};
// Colours: ESC [ … m. Dropped: other CSI, OSC and its kin up to their end, two-character escapes, control characters.

const CONTROL =
  /\x1b\[([\d;:]*)m|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|\x1b[\]PX^_][^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?|\x1b[ -/]*[0-~]?|[\x00-\x08\x0b-\x1f\x7f-\x9f]/g;

const HAS_CONTROL = /[\x00-\x08\x0b-\x1f\x7f-\x9f]/;

/** A line's spans. A carriage return begins the line anew, as in a terminal: what came before it is not shown. */
export function spansOf(line: string): Span[] {
  const shown = afterReturn(line);
  if (!HAS_CONTROL.test(shown)) return shown === '' ? [] : [{ text: shown, ...PLAIN }];
  const spans: Span[] = [];
  let style = PLAIN;
  let from = 0;
  const take = (to: number) => {
    if (to <= from) return;
    const text = shown.slice(from, to);
    const last = spans[spans.length - 1];
    if (last && isSameStyle(last, style)) last.text += text;
    else spans.push({ text, ...style });
  };
  for (const match of shown.matchAll(CONTROL)) {
    take(match.index);
    from = match.index + match[0].length;
    if (match[1] !== undefined) style = styled(style, match[1]);
  }
  take(shown.length);
  return spans;
}

/** A line without any control sequence. */
export function plainOf(line: string): string {
  return spansOf(line)
    .map((span) => span.text)
    .join('');
}

function afterReturn(line: string): string {
  if (!line.includes('\r')) return line;
  const parts = line.split('\r');
  while (parts.length > 1 && parts[parts.length - 1] === '') parts.pop();
  return parts[parts.length - 1]!;
}

function isSameStyle(one: Style, other: Style): boolean {
  return (Object.keys(PLAIN) as (keyof Style)[]).every((key) => one[key] === other[key]);
}

function styled(before: Style, parameters: string): Style {
  const codes = parameters.split(/[;:]/).map((code) => (code === '' ? 0 : Number(code)));
  let style = { ...before };
  for (let at = 0; at < codes.length; at++) {
    const code = codes[at]!;
    if (code === 0) style = { ...PLAIN };
    else if (code === 1) style.isBold = true;
    else if (code === 2) style.isDim = true;
    else if (code === 3) style.isItalic = true;
    else if (code === 4) style.isUnderlined = true;
    else if (code === 22) style.isBold = style.isDim = false;
    else if (code === 23) style.isItalic = false;
    else if (code === 24) style.isUnderlined = false;
    else if (code === 39) style.colour = null;
    else if (code === 49) style.background = null;
    else if (code >= 30 && code <= 37) style.colour = code - 30;
    else if (code >= 40 && code <= 47) style.background = code - 40;
    else if (code >= 90 && code <= 97) style.colour = code - 82;
    else if (code >= 100 && code <= 107) style.background = code - 92;
    else if (code === 38 || code === 48) {
      const isIndexed = codes[at + 1] === 5;
      const colour = isIndexed
        ? ofPalette(codes[at + 2] ?? 0)
        : nearest(codes[at + 2] ?? 0, codes[at + 3] ?? 0, codes[at + 4] ?? 0);
      style[code === 38 ? 'colour' : 'background'] = colour;
      at += isIndexed ? 2 : 4;
    }
  }
  return style;
}

function ofPalette(index: number): number {
  if (index < 16) return index;
  if (index >= 232) return nearest((index - 232) * 10 + 8, (index - 232) * 10 + 8, (index - 232) * 10 + 8);
  const cube = index - 16;
  const level = (part: number) => (part === 0 ? 0 : 55 + part * 40);
  return nearest(level(Math.floor(cube / 36)), level(Math.floor(cube / 6) % 6), level(cube % 6));
}

/** The nearest of the 16: those are tuned to be read in both themes, what a script chose for its terminal is not. */
function nearest(red: number, green: number, blue: number): number {
  const most = Math.max(red, green, blue);
  const least = Math.min(red, green, blue);
  if (most - least < 40) return most < 60 ? 0 : most < 150 ? 8 : most < 220 ? 7 : 15;
  const middle = (most + least) / 2;
  const hue = (red > middle ? 1 : 0) + (green > middle ? 2 : 0) + (blue > middle ? 4 : 0);
  return most > 200 ? hue + 8 : hue;
}

/** Whether a line speaks of an error or a warning, for marks beside the text. */
export function isTrouble(line: string): boolean {
  return /(?:Error|Exception)\b|\b(?:error|traceback|fatal|critical|killed|out of memory|nan)\b/i.test(line);
}
