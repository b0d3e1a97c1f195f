/** The one vitest configuration of the workspace: sibling packages resolve to their sources, so a test needs no build. */
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

const packages = fileURLToPath(new URL('../packages', import.meta.url));

export function packageTest() {
  return defineConfig({
    resolve: {
      alias: [
        // The model is a file with a hand-written module beside it, not a source to compile.
        { find: '@unicorn-exec/model-nano', replacement: `${packages}/model-nano/index.js` },
        { find: /^@unicorn-exec\/([^/]+)$/, replacement: `${packages}/$1/src/index.ts` },
        // Other entry points, as in `tsconfig.source.json`: a file of that name, or a folder with an index.
        { find: /^@unicorn-exec\/([^/]+)\/([^/.]+)$/, replacement: `${packages}/$1/src/$2` },
      ],
    },
    test: {
      include: ['test/**/*.test.ts'],
      testTimeout: 60_000,
    },
  });
}
