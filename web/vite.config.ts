import react from '@vitejs/plugin-react';
import { defineConfig } from 'vitest/config';

// The built page lies inside the Python package. No inlined assets: the page's policy allows no `data:` but for images.
export default defineConfig({
  plugins: [react()],
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
