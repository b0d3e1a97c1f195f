/** The one vitest configuration of the workspace: sibling packages resolve to their sources, so a test needs no build. */
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

const packages = fileURLToPath(new URL('../packages', import.meta.url));

export function packageTest() {
  return defineConfig({
    resolve: {
      alias: [{ find: /^@unicorn-exec\/([^/]+)$/, replacement: `${packages}/$1/src/index.ts` }],
    },
    test: {
      include: ['test/**/*.test.ts'],
      testTimeout: 60_000,
    },
  });
}
