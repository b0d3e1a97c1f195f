/**
 * What `npm ci` leaves behind in a clone: every package built, and the native code of the backends. npm hides the output of
 * the workspaces' own scripts, so this one, run by the root's `prepare`, speaks for them: little when all is well. A
 * package that does not build fails the install; native code that does not is one warning, since `reference` runs without.
 */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
/** Exit code of build-native.mjs: the next one would miss the same, and one warning is enough. */
const missingTools = 2;

const nx = join(root, 'node_modules', '.bin', 'nx');

/** Runs a script with this Node. @returns its exit code and, unless it was shown, what it printed */
function run(args, { shown = false } = {}) {
  const { status, stdout, stderr } = spawnSync(process.execPath, args, {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 64 * 2 ** 20,
    stdio: shown ? 'inherit' : ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, NX_DAEMON: 'false', NX_TUI: 'false' },
  });
  return { code: status ?? 1, output: `${stdout ?? ''}${stderr ?? ''}` };
}

// Without devDependencies (`npm ci --omit=dev`) there is nothing to build with.
if (existsSync(nx) && existsSync(join(root, 'node_modules', '.bin', 'tsup'))) {
  const build = run([nx, 'run-many', '-t', 'build', '--output-style=static']);
  if (build.code !== 0) {
    process.stderr.write(build.output);
    console.error('unicorn: the packages could not be built; the lines above say why.');
    process.exit(1);
  }
  console.log('unicorn: packages built');
  for (const backend of ['backend-cpu', 'backend-vulkan']) {
    // Its own warning names what is missing; it is never a failed install.
    const tool = join(root, 'packages', backend, 'tools', 'build-native.mjs');
    const { code } = run([tool, '--strict'], { shown: true });
    if (code === missingTools) break;
  }
}
