/**
 * The long test: the addon inside Node, under AddressSanitizer with UndefinedBehaviorSanitizer and under ThreadSanitizer.
 * What runs is what the addon does by itself: memory, weights, the queue and its thread, hostile callers, drivers and
 * loaders made for it, lost and stalled devices. Needs a driver (mesa-vulkan-drivers), takes some minutes.
 *
 *     node tools/test-sanitized.mjs
 */
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { addresses, buildSanitized, runInNode, threads } from '@unicorn-exec/native/tools/sanitizer.mjs';
import { buildNative } from './build-native.mjs';

const packageFolder = dirname(dirname(fileURLToPath(import.meta.url)));
const vitest = join(dirname(dirname(packageFolder)), 'node_modules', 'vitest', 'vitest.mjs');

/** Tests that exercise the addon more than the shaders. */
const tests = ['addon', 'device', 'imported-weights'].map((name) => `test/${name}.test.ts`);

for (const sanitizer of [addresses, threads]) {
  const addon = await buildSanitized(sanitizer, buildNative);
  runInNode(sanitizer, 'tests', [vitest, 'run', ...tests], {
    cwd: packageFolder,
    env: { UNICORN_VULKAN_ADDON: addon },
  });
}
