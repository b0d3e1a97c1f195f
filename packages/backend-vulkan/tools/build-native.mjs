/**
 * Builds the addon `build/Release/unicorn_vulkan.node` with CMake (Ninja when present, else Make). As a program it prints
 * one line: that it was built, or a warning with what to install; a missing compiler is no failure (exit 0), since other
 * backends do without it. No Vulkan SDK is needed. As a module it is `buildNative`, for `unicorn doctor --build`.
 *
 *     node tools/build-native.mjs [--quiet] [--sanitize=address,undefined|thread] [--strict]
 */
import { spawn } from 'node:child_process';
import { existsSync, readFileSync, realpathSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const packageFolder = dirname(dirname(fileURLToPath(import.meta.url)));
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

/** Folders of the headers, from the two npm packages. */
function includeFolders() {
  const require = createRequire(import.meta.url);
  return [dirname(require.resolve('node-addon-api/package.json')), require('node-api-headers').include_dir];
}

/**
 * Builds the addon.
 *
 * @param {{sanitize?: string}} [options] `sanitize`: the value of -fsanitize, built into a folder of its own
 * @returns {Promise<{ok: true, path: string, seconds: number} | {ok: false, reason: string, fix: string, output: string}>}
 */
export async function buildNative({ sanitize = '' } = {}) {
  const started = performance.now();
  const compiler = process.env.CXX ?? findProgram(['c++', 'g++', 'clang++']);
  if (compiler === undefined) {
    return { ok: false, reason: 'there is no C++ compiler', fix: install, output: '' };
  }
  if (findProgram(['cmake']) === undefined) {
    return { ok: false, reason: 'there is no cmake', fix: install, output: '' };
  }
  const ninja = findProgram(['ninja']);
  if (ninja === undefined && findProgram(['make']) === undefined) {
    return { ok: false, reason: 'there is neither ninja nor make', fix: install, output: '' };
  }
  let includes;
  try {
    includes = includeFolders();
  } catch {
    const fix = 'npm install node-addon-api node-api-headers';
    return { ok: false, reason: 'the headers of Node-API are not installed', fix, output: '' };
  }
  const folder = join(packageFolder, 'build', sanitize === '' ? 'Release' : sanitize.replace(',', '-'));
  const configure = [
    ...['-S', packageFolder, '-B', folder],
    ...(ninja === undefined ? [] : ['-G', 'Ninja']),
    '-DCMAKE_BUILD_TYPE=Release',
    `-DCMAKE_CXX_COMPILER=${compiler}`,
    `-DUNICORN_NAPI_INCLUDES=${includes.join(';')}`,
    `-DUNICORN_SANITIZE=${sanitize}`,
  ];
  // A folder that was configured elsewhere or for another generator refuses: begin it anew.
  const cache = join(folder, 'CMakeCache.txt');
  const generator = ninja === undefined ? 'Unix Makefiles' : 'Ninja';
  if (existsSync(cache)) {
    const text = readFileSync(cache, 'utf8');
    const fits =
      text.includes(`CMAKE_HOME_DIRECTORY:INTERNAL=${packageFolder}\n`) &&
      text.includes(`CMAKE_GENERATOR:INTERNAL=${generator}\n`);
    if (!fits) rmSync(folder, { recursive: true, force: true });
  }
  const parallel = process.env.CMAKE_BUILD_PARALLEL_LEVEL ?? String(availableParallelism());
  for (const args of [configure, ['--build', folder, '--parallel', parallel]]) {
    const { code, output } = await capture('cmake', args);
    if (code !== 0) {
      const reason = args === configure ? 'CMake could not configure it' : 'it did not compile';
      return { ok: false, reason, fix: install, output };
    }
  }
  const seconds = (performance.now() - started) / 1000;
  return { ok: true, path: join(folder, 'unicorn_vulkan.node'), seconds };
}

async function main() {
  const flags = process.argv.slice(2);
  const sanitize = flags.find((flag) => flag.startsWith('--sanitize='))?.slice('--sanitize='.length) ?? '';
  const result = await buildNative({ sanitize });
  if (result.ok) {
    if (!flags.includes('--quiet')) {
      console.log(`unicorn: native Vulkan code built in ${result.seconds.toFixed(1)} s`);
    }
    return;
  }
  const lines = result.output.trimEnd().split('\n').slice(-40).join('\n');
  if (lines !== '') console.error(lines);
  console.warn(
    `unicorn: WARNING: the native Vulkan code was not built: ${result.reason}. ` +
      'GPUs are not used until it is. ' +
      `Fix: ${result.fix} && node ${join(packageFolder, 'tools', 'build-native.mjs')}`,
  );
  if (flags.includes('--strict')) process.exitCode = result.output === '' ? missingTools : 1;
}

if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  await main();
}
