/** Bytes of '20 GB', '500MB', '1.5T', '8 GiB'; null for anything else. As the command line reads them. */
export function readSize(text: string): number | null {
  const match = /^(\d{1,15}(?:\.\d{1,9})?) ?(?:([kmgtp])(i?)b?|b)$/i.exec(text.trim());
  if (!match) return null;
  const power = match[2] ? ' kmgtp'.indexOf(match[2].toLowerCase()) : 0;
  return Math.floor(Number(match[1]) * (match[3] ? 1024 : 1000) ** power);
}
