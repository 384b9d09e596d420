// Fails where more than 150 KB of JavaScript, compressed, are fetched before anything is shown. What is fetched later, when
// a place or a panel is opened for the first time, is listed after it.
import { readFileSync, readdirSync } from 'node:fs';
import { gzipSync } from 'node:zlib';

const most = 150 * 1024;
const page = new URL('../../src/hypertuner/web/', import.meta.url);
const html = readFileSync(new URL('index.html', page), 'utf8');
const sizes = readdirSync(new URL('assets/', page))
  .filter((name) => name.endsWith('.js'))
  .map((name) => ({ name, bytes: gzipSync(readFileSync(new URL(`assets/${name}`, page)), { level: 9 }).length }))
  .map((file) => ({ ...file, isFirst: html.includes(`/assets/${file.name}`) }));
const sum = (files) => files.reduce((total, { bytes }) => total + bytes, 0);
const say = (bytes, what) => console.log(`${(bytes / 1024).toFixed(1).padStart(7)} KB gz  ${what}`);
const [first, later] = [sizes.filter((file) => file.isFirst), sizes.filter((file) => !file.isFirst)];
for (const { name, bytes } of first) say(bytes, name);
say(sum(first), `at first (at most ${most / 1024})`);
for (const { name, bytes } of later) say(bytes, name);
say(sum(sizes), 'all of it');
if (first.length === 0 || sum(first) > most) process.exit(1);
