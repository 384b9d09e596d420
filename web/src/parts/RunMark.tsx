// A run's colour and mark, for life: the same circle, diamond, triangle or square wherever the run is seen.
import { names } from './names';
import css from './RunMark.module.css';

export const MARKS = [
  'M4 8a4 4 0 1 0 8 0a4 4 0 1 0-8 0z',
  'M8 2.8L13.2 8 8 13.2 2.8 8z',
  'M8 3l5.2 9.4H2.8z',
  'M4 4h8v8H4z',
];
const MARK_NAMES = ['circle', 'diamond', 'triangle', 'square'];
export const COLOUR_NAMES = ['blue', 'orange', 'green', 'red', 'purple', 'cyan', 'yellow', 'grey'];

export function RunMark({
  colour,
  mark,
  isFaded = false,
  size = 12,
}: {
  colour: number;
  mark: number;
  isFaded?: boolean;
  size?: number;
}) {
  return (
    <svg
      width={size}
      height={size}
      viewBox="2 2 12 12"
      role="img"
      aria-label={`${COLOUR_NAMES[colour] ?? ''} ${MARK_NAMES[mark] ?? ''}`}
      className={names(css.mark, css[`c${colour}`], isFaded && css.faded)}
    >
      <path d={MARKS[mark] ?? MARKS[0]} />
    </svg>
  );
}

/** The colour as canvas wants it, in the theme that is shown now. */
export function runColour(colour: number): string {
  return cssColour(`--run-${colour}`);
}

/** What a colour of tokens.css is right now, as rgb(). */
export function cssColour(name: string): string {
  const probe = document.createElement('i');
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const colour = getComputedStyle(probe).color;
  probe.remove();
  return colour;
}
