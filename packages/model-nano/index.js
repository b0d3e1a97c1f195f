/** Where the bundled model lies. The file beside this one is made by `packages/models/tools/make-nano.mjs`. */
import { fileURLToPath } from 'node:url';

export const modelPath = fileURLToPath(new URL('./nano.gguf', import.meta.url));
