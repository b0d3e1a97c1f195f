/**
 * The long test: the runtime under AddressSanitizer with UndefinedBehaviorSanitizer and under ThreadSanitizer, alone,
 * and this package's whole test suite with the first of the two inside Node. Takes some minutes.
 *
 *     node tools/test-sanitized.mjs
 */
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  addresses,
  buildSanitized,
  runAlone,
  runInNode,
  threads,
} from '@unicorn-exec/native/tools/sanitizer.mjs';
import { buildNative } from './build-native.mjs';

const packageFolder = dirname(dirname(fileURLToPath(import.meta.url)));
const vitest = join(dirname(dirname(packageFolder)), 'node_modules', 'vitest', 'vitest.mjs');
const targets = ['runtime_test'];

let addon = '';
for (const sanitizer of [threads, addresses]) {
  addon = await buildSanitized(sanitizer, buildNative, { targets });
  runAlone(sanitizer, join(dirname(addon), 'runtime_test'));
}
runInNode(addresses, 'tests', [vitest, 'run'], { cwd: packageFolder, env: { UNICORN_CPU_ADDON: addon } });
