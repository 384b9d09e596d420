import { readFileSync } from 'node:fs';
import react from '@vitejs/plugin-react';
import { defineConfig } from 'vitest/config';

/**
 * The frame of the page is painted out of the document alone: its styles are in it, all others come after it.
 * @type {import('vite').Plugin}
 */
const frame = {
  name: 'frame',
  transformIndexHtml: {
    order: 'post',
    handler(html) {
      const sources = ['tokens', 'frame'].map((name) => new URL(`src/app/${name}.css`, import.meta.url));
      const styles = sources.map((source) => readFileSync(source, 'utf8').replace(/\/\*.*?\*\/\n?/gs, '')).join('');
      const links = html.match(/ *<link rel="stylesheet".*\n/g) ?? [];
      return links
        .reduce((text, link) => text.replace(link, ''), html)
        .replace('</head>', `  <style>\n${styles}</style>\n  </head>`)
        .replace('</body>', `${links.join('')}  </body>`);
    },
  },
};

// The built page lies inside the Python package. No inlined assets: the page's policy allows no `data:` but for images.
export default defineConfig({
  plugins: [react(), frame],
  build: {
    outDir: '../src/hypertuner/web',
    emptyOutDir: true,
    target: 'es2022',
    cssTarget: ['chrome123', 'firefox121', 'safari17.5'],
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  server: {
    proxy: { '/api': { target: 'http://127.0.0.1:4880', ws: true } },
  },
  test: { environment: 'jsdom', include: ['src/**/*.test.{ts,tsx}'] },
});
