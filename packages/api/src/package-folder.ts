/** Where this package lies on disk, and its version. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageFolderOf } from '@unicorn-exec/tensor';

/** Both `src`, which tests run from, and `dist` lie directly in it, as does this file in either. */
const packageFolder = packageFolderOf(import.meta.url);

/** A file of the build that runs as a program of its own; it is there once the package was built. */
export const builtFile = (name: string): string => join(packageFolder, 'dist', name);

export function packageVersion(): string {
  const manifest = readFileSync(join(packageFolder, 'package.json'), 'utf8');
  return (JSON.parse(manifest) as { version: string }).version;
}
