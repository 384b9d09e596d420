/** Class names, those that are there. */
export function names(...all: (string | false | null | undefined)[]): string {
  return all.filter(Boolean).join(' ');
}
