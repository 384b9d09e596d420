// Puts each file of the built page beside itself as Brotli and as gzip; the server gives what a browser takes.
import { readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { brotliCompressSync, gzipSync } from 'node:zlib';

const page = fileURLToPath(new URL('../../src/hypertuner/web/', import.meta.url));
const LEAST_BYTES = 1024;

for (const name of readdirSync(page, { recursive: true })) {
  const path = `${page}${name}`;
  if (!/\.(html|js|css|svg|json)$/.test(name) || statSync(path).size < LEAST_BYTES) continue;
  const content = readFileSync(path);
  writeFileSync(`${path}.br`, brotliCompressSync(content)); // at its highest level, where none is said
  writeFileSync(`${path}.gz`, gzipSync(content, { level: 9 }));
}
