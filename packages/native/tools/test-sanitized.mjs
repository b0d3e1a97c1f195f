/**
 * The long test: the kit and the toy addon under ThreadSanitizer and under AddressSanitizer with UndefinedBehaviorSanitizer,
 * alone and inside Node. Takes some minutes.
 *
 *     node tools/test-sanitized.mjs
 */
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildNative } from '../test/toy-addon/tools/build-native.mjs';
import { addresses, buildSanitized, runAlone, runInNode, threads } from './sanitizer.mjs';

const packageFolder = dirname(dirname(fileURLToPath(import.meta.url)));
const vitest = join(dirname(dirname(packageFolder)), 'node_modules', 'vitest', 'vitest.mjs');

for (const sanitizer of [threads, addresses]) {
  const addon = await buildSanitized(sanitizer, buildNative, { targets: ['core_test'] });
  runAlone(sanitizer, join(dirname(addon), 'core_test'));
  runInNode(sanitizer, 'tests', [vitest, 'run', 'test/toy-addon.test.ts'], {
    cwd: packageFolder,
    env: { UNICORN_TOY_ADDON: addon },
  });
}
