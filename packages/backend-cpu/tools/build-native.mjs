/**
 * Builds the addon `build/Release/unicorn_cpu.node`: as a program, or as a module for `unicorn doctor --build`. The flags
 * are those of `runBuild` in `@unicorn-exec/native`.
 *
 *     node tools/build-native.mjs [--quiet] [--sanitize=address,undefined|thread] [--strict]
 */
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildAddon, isProgram, runBuild } from '@unicorn-exec/native/tools/build-addon.mjs';

const addon = {
  folder: dirname(dirname(fileURLToPath(import.meta.url))),
  name: 'unicorn_cpu',
  title: 'the native CPU kernels',
  without: 'Models run on the slow "reference" backend until they are.',
};

/** `buildAddon` of `@unicorn-exec/native`, for this addon; the target `runtime_test` is the runtime without Node. */
export const buildNative = (options) => buildAddon(addon, options);

if (isProgram(import.meta.url)) await runBuild(addon);
