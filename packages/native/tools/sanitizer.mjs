/**
 * Long tests of an addon: builds of it with a sanitizer, alone (a `unicorn_test`) and inside Node. Ends the process with 1
 * when something fails, since that is all that its callers, scripts, could do.
 *
 *     const built = await buildSanitized(threads, buildNative, { targets: ['runtime_test'] });
 *     runAlone(threads, join(dirname(built), 'runtime_test'));
 *     runInNode(addresses, 'tests', [vitest, 'run'], { cwd: packageFolder, env: { UNICORN_CPU_ADDON: built } });
 *
 * @typedef {object} Sanitizer
 * @property {string} name the value of -fsanitize
 * @property {string} library the sanitizer's runtime, which must be in the process before an addon that wants it
 * @property {Record<string, string>} alone variables for an executable that is instrumented as a whole
 * @property {Record<string, string>} inNode variables for Node, which is not instrumented
 */
import { execFileSync, spawnSync } from 'node:child_process';

const undefinedBehaviour = { UBSAN_OPTIONS: 'print_stacktrace=1:halt_on_error=1' };

/** AddressSanitizer with UndefinedBehaviorSanitizer. @type {Sanitizer} */
export const addresses = {
  name: 'address,undefined',
  library: 'libasan.so',
  alone: undefinedBehaviour,
  // Leaks are not looked for: Node and drivers have many.
  inNode: { ...undefinedBehaviour, ASAN_OPTIONS: 'detect_leaks=0' },
};

/** ThreadSanitizer. @type {Sanitizer} */
export const threads = {
  name: 'thread',
  library: 'libtsan.so',
  alone: { TSAN_OPTIONS: 'halt_on_error=1' },
  // Node and drivers synchronize in ways that are not seen, so only accesses of the addon's own code count. A process may
  // end with a device open, whose threads are then not joined.
  inNode: {
    TSAN_OPTIONS: 'halt_on_error=1:ignore_noninstrumented_modules=1:report_thread_leaks=0:exitcode=66',
  },
};

/**
 * @param {Sanitizer} sanitizer
 * @param {(options: import('./build-addon.mjs').BuildOptions) => Promise<import('./build-addon.mjs').Built | import('./build-addon.mjs').NotBuilt>} buildNative
 * @param {{targets?: readonly string[]}} [options]
 * @returns {Promise<string>} the path of the addon
 */
export async function buildSanitized(sanitizer, buildNative, { targets = [] } = {}) {
  console.log(`building with -fsanitize=${sanitizer.name} ...`);
  const result = await buildNative({ sanitize: sanitizer.name, targets });
  if (result.ok) return result.path;
  console.error(`${result.output}\n${result.reason}`);
  process.exit(1);
}

/** Runs an executable that was built with the sanitizer. */
export function runAlone(sanitizer, executable, args = []) {
  run(`${executable} with -fsanitize=${sanitizer.name}`, executable, args, { env: sanitizer.alone });
}

/**
 * Runs Node with the sanitizer's runtime, so that it can load an addon that was built with it.
 *
 * @param {Sanitizer} sanitizer
 * @param {string} title of what is run, for messages
 * @param {readonly string[]} args of Node
 * @param {{cwd?: string, env?: Record<string, string>}} [options] `env`: the variable that names the addon, above all
 */
export function runInNode(sanitizer, title, args, { cwd, env = {} } = {}) {
  const preload = execFileSync('c++', [`-print-file-name=${sanitizer.library}`], { encoding: 'utf8' }).trim();
  run(`${title} with -fsanitize=${sanitizer.name}`, process.execPath, args, {
    cwd,
    env: { ...sanitizer.inNode, ...env, LD_PRELOAD: preload },
  });
}

function run(title, command, args, { cwd, env }) {
  console.log(`${title} ...`);
  const { status, signal } = spawnSync(command, args, {
    cwd,
    stdio: 'inherit',
    env: { ...process.env, ...env },
  });
  if (status === 0) return;
  console.error(`${title} failed (${signal ?? `exit ${status}`})`);
  process.exit(1);
}
