/** Where this package lies on disk, for the files that it ships beside its code. */
import { packageFolderOf } from '@unicorn-exec/tensor';

/** Both `src`, which tests run from, and `dist` lie directly in it, as does this file in either. */
export const packageFolder = packageFolderOf(import.meta.url);
