// Fails where the page's JavaScript is over 150 KB, compressed: what a browser has to fetch before anything is shown.
import { readFileSync, readdirSync } from 'node:fs';
import { gzipSync } from 'node:zlib';

const most = 150 * 1024;
const folder = new URL('../../src/hypertuner/web/assets/', import.meta.url);
const sizes = readdirSync(folder)
  .filter((name) => /\.(js|css)$/.test(name))
  .map((name) => ({ name, bytes: gzipSync(readFileSync(new URL(name, folder)), { level: 9 }).length }));
for (const { name, bytes } of sizes) console.log(`${(bytes / 1024).toFixed(1).padStart(7)} KB gz  ${name}`);
const js = sizes.filter(({ name }) => name.endsWith('.js')).reduce((sum, { bytes }) => sum + bytes, 0);
console.log(`${(js / 1024).toFixed(1).padStart(7)} KB gz  all JavaScript (at most ${most / 1024})`);
if (js > most) process.exit(1);
