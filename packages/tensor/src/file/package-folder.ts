/**
 * Where a package of ours lies, for the files that it ships beside its code; and whether it still lies there, since a
 * bundler copies code and leaves those files behind.
 */
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** What to do about a package whose code was moved. */
export const bundlerFix =
  'Leave the packages of @unicorn-exec out of the bundle: esbuild `--external:@unicorn-exec/*`, ' +
  'webpack `externals: [/^@unicorn-exec\\//]`, Next.js `serverExternalPackages: ["@unicorn-exec/api"]`.';

/**
 * The folder two levels above a module: `src` and `dist` lie directly in a package. Empty where a bundler left the module
 * without an address.
 *
 * @param url `import.meta.url`
 */
export function packageFolderOf(url: string | undefined): string {
  return url?.startsWith('file:') ? dirname(dirname(fileURLToPath(url))) : '';
}

/** Whether a folder is that of the package: its manifest says so. */
export function isPackageFolder(folder: string, name: string): boolean {
  try {
    return (
      (JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as { name?: unknown }).name === name
    );
  } catch {
    return false;
  }
}
