import { readFileSync } from 'node:fs';
import react from '@vitejs/plugin-react';
import { defineConfig } from 'vitest/config';

const bare = (name) => readFileSync(new URL(`src/app/${name}`, import.meta.url), 'utf8');

/**
 * The frame of the page is painted, and what it shows first is asked for, out of the document alone: those styles and that
 * script are in it, all others come after it. The server tells the browser their hashes, and that nothing else may.
 * @type {import('vite').Plugin}
 */
const frame = {
  name: 'frame',
  transformIndexHtml: {
    order: 'post',
    handler(html) {
      const styles = [bare('tokens.css'), bare('frame.css')].join('').replace(/\/\*.*?\*\/\n?/gs, '');
      const script = bare('first.js').replace(/^ *\/\/.*\n|(?<=;) \/\/.*/gm, '');
      const links = html.match(/ *<link rel="stylesheet".*\n/g) ?? [];
      return links
        .reduce((text, link) => text.replace(link, ''), html)
        .replace('</head>', () => `  <style>\n${styles}</style>\n  </head>`)
        .replace('<script id="first"></script>', () => `<script>\n${script}</script>`)
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
    // What is needed at first is one file: each costs a server in Python some milliseconds.
    rolldownOptions: { output: { codeSplitting: { groups: [{ name: 'page', tags: ['$initial'] }] } } },
  },
  server: {
    proxy: { '/api': { target: 'http://127.0.0.1:4880', ws: true } },
  },
  test: { environment: 'jsdom', include: ['src/**/*.test.{ts,tsx}'] },
});
