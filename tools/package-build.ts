/**
 * The one tsup configuration of the workspace: ESM, CommonJS and declarations from `src/index.ts`, and the licence that
 * every published package carries, copied from the root so that there is one text to keep.
 */
import { copyFile } from 'node:fs/promises';
import { defineConfig, type Options } from 'tsup';

export function packageBuild(overrides: Options = {}) {
  return defineConfig({
    entry: ['src/index.ts'],
    format: ['esm', 'cjs'],
    dts: true,
    clean: true,
    sourcemap: true,
    shims: true,
    target: 'node20',
    tsconfig: 'tsconfig.build.json',
    onSuccess: () => copyFile(new URL('../LICENSE', import.meta.url), 'LICENSE'),
    ...overrides,
  });
}
