/**
 * The long test: the addon inside Node, under AddressSanitizer with UndefinedBehaviorSanitizer and under ThreadSanitizer.
 * What runs is what the addon does by itself: memory, weights, the queue and its thread, hostile callers, drivers and
 * loaders made for it, lost and stalled devices. Needs a driver (mesa-vulkan-drivers), takes some minutes.
 *
 *     node tools/test-sanitized.mjs
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildNative } from './build-native.mjs';

const packageFolder = dirname(dirname(fileURLToPath(import.meta.url)));
const vitest = join(dirname(dirname(packageFolder)), 'node_modules', 'vitest', 'vitest.mjs');

/** Tests that exercise the addon more than the shaders. */
const tests = ['addon', 'device', 'imported-weights'].map((name) => `test/${name}.test.ts`);

/**
 * @param sanitize the value of -fsanitize
 * @param library the sanitizer's runtime: Node is not instrumented, so it must be there before Node is
 */
async function test(sanitize, library, env) {
  console.log(`building with -fsanitize=${sanitize} ...`);
  const built = await buildNative({ sanitize });
  if (!built.ok) {
    console.error(`${built.output}\n${built.reason}`);
    process.exit(1);
  }
  console.log(`tests with -fsanitize=${sanitize} ...`);
  const preload = execFileSync('c++', [`-print-file-name=${library}`], { encoding: 'utf8' }).trim();
  const { status, signal } = spawnSync(process.execPath, [vitest, 'run', ...tests], {
    cwd: packageFolder,
    stdio: 'inherit',
    env: { ...process.env, ...env, LD_PRELOAD: preload, UNICORN_VULKAN_ADDON: built.path },
  });
  if (status === 0) return;
  console.error(`tests with -fsanitize=${sanitize} failed (${signal ?? `exit ${status}`})`);
  process.exit(1);
}

// What Node and drivers leak is not our concern.
await test('address,undefined', 'libasan.so', {
  ASAN_OPTIONS: 'detect_leaks=0',
  UBSAN_OPTIONS: 'print_stacktrace=1:halt_on_error=1',
});

// Node and drivers synchronize in ways that are not seen, so only accesses of the addon's own code count. A process may end
// with a device open, and then nobody joins its threads.
await test('thread', 'libtsan.so', {
  TSAN_OPTIONS: 'halt_on_error=1:ignore_noninstrumented_modules=1:report_thread_leaks=0:exitcode=66',
});
