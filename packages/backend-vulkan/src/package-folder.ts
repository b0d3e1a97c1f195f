/** Where this package lies on disk, for the files that it ships beside its code. */
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Both `src`, which tests run from, and `dist` lie directly in it, as does this file in either. */
export const packageFolder = dirname(dirname(fileURLToPath(import.meta.url)));
