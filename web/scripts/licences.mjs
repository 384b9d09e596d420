// Puts the licences of what is bundled into the page beside it: they ask to go with every copy.
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';

const web = new URL('../', import.meta.url);
const { packages } = JSON.parse(readFileSync(new URL('package-lock.json', web), 'utf8'));
const parts = Object.entries(packages)
  .filter(([path, { dev, optional, devOptional }]) => path && !dev && !optional && !devOptional)
  .map(([path, { version, license }]) => {
    const folder = new URL(`${path}/`, web);
    const file = readdirSync(folder).find((name) => /^licen[cs]e/i.test(name));
    if (!file) throw new Error(`${path} has no licence`);
    const text = readFileSync(new URL(file, folder), 'utf8').trim();
    return `${path.replace('node_modules/', '')} ${version} (${license})\n\n${text}\n`;
  });
const line = `\n${'-'.repeat(80)}\n\n`;
writeFileSync(new URL('../src/hypertuner/web/licences.txt', web), parts.join(line));
