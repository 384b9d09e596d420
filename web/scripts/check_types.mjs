// Fails where src/api/api.d.ts is not what web/openapi.json says.
import { readFileSync } from 'node:fs';
import openapiTS, { astToString } from 'openapi-typescript';

const here = (path) => new URL(`../${path}`, import.meta.url);
const fresh = astToString(await openapiTS(here('openapi.json')));
if (!readFileSync(here('src/api/api.d.ts'), 'utf8').endsWith(fresh)) {
  console.error('src/api/api.d.ts is not what openapi.json says. Run: npm run types');
  process.exit(1);
}
