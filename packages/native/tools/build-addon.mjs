/**
 * Builds an addon with CMake (Ninja when present, else Make) and the module `unicorn-addon` of `cmake/`. Plain JavaScript
 * over Node alone, so that it runs before anything was compiled. A package with an addon has a `tools/build-native.mjs`:
 *
 *     import { buildAddon, isProgram, runBuild } from '@unicorn-exec/native/tools/build-addon.mjs';
 *
 *     const addon = {
 *       folder: dirname(import.meta.dirname),
 *       name: 'unicorn_cpu',
 *       title: 'the native CPU kernels',
 *       without: 'Models run on the slow "reference" backend until they are.',
 *     };
 *     export const buildNative = (options) => buildAddon(addon, options);
 *     if (isProgram(import.meta.url)) await runBuild(addon);
 *
 * The name of that file and of its export are fixed: `buildNativeAddon` of `@unicorn-exec/native`, which stands behind
 * `unicorn doctor --build`, looks for them, and so do the root's `prepare` and the fix that `loadAddon` names.
 *
 * @typedef {object} AddonBuild
 * @property {string} folder the package's folder, which has the CMakeLists.txt
 * @property {string} name the target of `unicorn_addon`: `build/Release/<name>.node` is built
 * @property {string} title what it is, as a sentence would say it in its middle: `the native CPU kernels`
 * @property {string} without a sentence that says what is missed as long as it is not built
 *
 * @typedef {object} BuildOptions
 * @property {string} [sanitize] the value of -fsanitize, built into a folder of its own: `build/address-undefined`
 * @property {readonly string[]} [targets] tests (`unicorn_test`) to build as well; they lie beside the addon
 *
 * @typedef {{ok: true, path: string, seconds: number}} Built `path` of the addon
 * @typedef {{ok: false, reason: string, fix: string, output: string}} NotBuilt `output`: what the tools printed, empty when
 * there was nothing to build with
 */
import { spawn } from 'node:child_process';
import { existsSync, readFileSync, realpathSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const kitFolder = dirname(dirname(fileURLToPath(import.meta.url)));
const install = 'apt-get install g++ cmake make';

/** Exit code under --strict when there is nothing to build with, which is then so for every addon. */
const missingTools = 2;

function findProgram(names) {
  for (const name of names) {
    for (const folder of (process.env.PATH ?? '').split(delimiter)) {
      if (folder !== '' && existsSync(join(folder, name))) return name;
    }
  }
  return undefined;
}

/** Runs a program; resolves with its exit code and everything it printed. */
function capture(command, args) {
  return new Promise((resolve) => {
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    child.stdout.on('data', (data) => (output += data));
    child.stderr.on('data', (data) => (output += data));
    child.on('error', (error) => resolve({ code: 127, output: `${error.message}\n` }));
    child.on('close', (code) => resolve({ code: code ?? 1, output }));
  });
}

/** Folders of the headers of Node-API, from two npm packages that this one depends on. */
function includeFolders() {
  const require = createRequire(import.meta.url);
  return [dirname(require.resolve('node-addon-api/package.json')), require('node-api-headers').include_dir];
}

/** What to build with, or what is missing. */
function findTools() {
  const compiler = process.env.CXX ?? findProgram(['c++', 'g++', 'clang++']);
  if (compiler === undefined) return { missing: 'there is no C++ compiler', fix: install };
  if (findProgram(['cmake']) === undefined) return { missing: 'there is no cmake', fix: install };
  const ninja = findProgram(['ninja']) !== undefined;
  if (!ninja && findProgram(['make']) === undefined) {
    return { missing: 'there is neither ninja nor make', fix: install };
  }
  try {
    return { compiler, generator: ninja ? 'Ninja' : 'Unix Makefiles', includes: includeFolders() };
  } catch {
    return {
      missing: 'the headers of Node-API are not installed',
      fix: 'npm install node-addon-api node-api-headers',
    };
  }
}

/**
 * Builds the addon. Never throws for want of tools, nor when something does not compile.
 *
 * @param {AddonBuild} addon
 * @param {BuildOptions} [options]
 * @returns {Promise<Built | NotBuilt>}
 */
export async function buildAddon({ folder, name }, { sanitize = '', targets = [] } = {}) {
  const started = performance.now();
  const { compiler, generator, includes, missing, fix } = findTools();
  if (missing !== undefined) return { ok: false, reason: missing, fix, output: '' };
  const buildFolder = join(folder, 'build', sanitize === '' ? 'Release' : sanitize.replace(',', '-'));
  const configure = [
    ...['-S', folder, '-B', buildFolder, '-G', generator],
    '-DCMAKE_BUILD_TYPE=Release',
    `-DCMAKE_CXX_COMPILER=${compiler}`,
    `-DCMAKE_MODULE_PATH=${join(kitFolder, 'cmake')}`,
    `-DUNICORN_NAPI_INCLUDES=${includes.join(';')}`,
    `-DUNICORN_SANITIZE=${sanitize}`,
  ];
  // A folder that was configured elsewhere or for another generator refuses: begin it anew.
  const cache = join(buildFolder, 'CMakeCache.txt');
  if (existsSync(cache)) {
    const text = readFileSync(cache, 'utf8');
    const fits =
      text.includes(`CMAKE_HOME_DIRECTORY:INTERNAL=${folder}\n`) &&
      text.includes(`CMAKE_GENERATOR:INTERNAL=${generator}\n`);
    if (!fits) rmSync(buildFolder, { recursive: true, force: true });
  }
  const parallel = process.env.CMAKE_BUILD_PARALLEL_LEVEL ?? String(availableParallelism());
  const build = ['--build', buildFolder, '--parallel', parallel, '--target', 'all', ...targets];
  for (const args of [configure, build]) {
    const { code, output } = await capture('cmake', args);
    if (code !== 0) {
      const reason = args === configure ? 'CMake could not configure it' : 'it did not compile';
      return { ok: false, reason, fix: install, output };
    }
  }
  const seconds = (performance.now() - started) / 1000;
  return { ok: true, path: join(buildFolder, `${name}.node`), seconds };
}

/**
 * Whether a module was started as a program.
 *
 * @param {string} url its `import.meta.url`
 */
export function isProgram(url) {
  const [, program] = process.argv;
  // With `node -e` it is whatever argument comes first.
  return program !== undefined && existsSync(program) && realpathSync(program) === fileURLToPath(url);
}

/**
 * Builds the addon as a program does. It prints one line: that it was built, or a warning with what to install. A missing
 * compiler is not a failure (exit 0), since other backends need none. Flags:
 *
 *     --quiet           nothing is said when it was built
 *     --sanitize=VALUE  address,undefined or thread
 *     --strict          the exit code is 1 when it was not built, 2 when there is nothing to build with
 *
 * @param {AddonBuild} addon
 */
export async function runBuild(addon) {
  const flags = process.argv.slice(2);
  const sanitize = flags.find((flag) => flag.startsWith('--sanitize='))?.slice('--sanitize='.length) ?? '';
  const result = await buildAddon(addon, { sanitize });
  if (result.ok) {
    if (!flags.includes('--quiet')) {
      console.log(`unicorn: built ${addon.title} in ${result.seconds.toFixed(1)} s`);
    }
    return;
  }
  const lines = result.output.trimEnd().split('\n').slice(-40).join('\n');
  if (lines !== '') console.error(lines);
  console.warn(
    `unicorn: WARNING: ${addon.title} could not be built: ${result.reason}. ${addon.without} ` +
      `Fix: ${result.fix} && node ${join(addon.folder, 'tools', 'build-native.mjs')}`,
  );
  if (flags.includes('--strict')) process.exitCode = result.output === '' ? missingTools : 1;
}
