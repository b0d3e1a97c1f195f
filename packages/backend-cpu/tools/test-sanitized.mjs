/**
 * The long test: the runtime under AddressSanitizer with UndefinedBehaviorSanitizer and under ThreadSanitizer, alone,
 * and this package's whole test suite with the first of the two inside Node. Takes some minutes.
 *
 *     node tools/test-sanitized.mjs
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildNative } from './build-native.mjs';

const packageFolder = dirname(dirname(fileURLToPath(import.meta.url)));
const root = dirname(dirname(packageFolder));

function run(title, command, args, env = {}) {
  console.log(`${title} ...`);
  const { status, signal } = spawnSync(command, args, {
    cwd: packageFolder,
    stdio: 'inherit',
    env: { ...process.env, ...env },
  });
  if (status !== 0) {
    console.error(`${title} failed (${signal ?? `exit ${status}`})`);
    process.exit(1);
  }
}

async function build(sanitize) {
  console.log(`building with -fsanitize=${sanitize} ...`);
  const result = await buildNative({ sanitize, runtimeTest: true });
  if (result.ok) return result.path;
  console.error(`${result.output}\n${result.reason}`);
  process.exit(1);
}

const options = { UBSAN_OPTIONS: 'print_stacktrace=1:halt_on_error=1', TSAN_OPTIONS: 'halt_on_error=1' };

const threads = await build('thread');
run('runtime under ThreadSanitizer', join(dirname(threads), 'runtime_test'), [], options);

const addresses = await build('address,undefined');
run('runtime under AddressSanitizer', join(dirname(addresses), 'runtime_test'), [], options);

// Node itself is not instrumented, so the library must be there before it; what Node leaks is not our concern.
const library = execFileSync('c++', ['-print-file-name=libasan.so'], { encoding: 'utf8' }).trim();
run(
  'tests under AddressSanitizer',
  process.execPath,
  [join(root, 'node_modules', 'vitest', 'vitest.mjs'), 'run'],
  {
    ...options,
    LD_PRELOAD: library,
    ASAN_OPTIONS: 'detect_leaks=0',
    UNICORN_CPU_ADDON: addresses,
  },
);
