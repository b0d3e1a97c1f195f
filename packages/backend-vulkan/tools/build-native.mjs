/**
 * Builds the addon `build/Release/unicorn_vulkan.node`: as a program, or as a module for `unicorn doctor --build`. No
 * Vulkan SDK is needed. The flags are those of `runBuild` in `@unicorn-exec/native`.
 *
 *     node tools/build-native.mjs [--quiet] [--sanitize=address,undefined|thread] [--strict]
 */
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildAddon, isProgram, runBuild } from '@unicorn-exec/native/tools/build-addon.mjs';

const addon = {
  folder: dirname(dirname(fileURLToPath(import.meta.url))),
  name: 'unicorn_vulkan',
  title: 'the native part of the Vulkan backend',
  without: 'GPUs are not used until it is.',
};

/** `buildAddon` of `@unicorn-exec/native`, for this addon. */
export const buildNative = (options) => buildAddon(addon, options);

if (isProgram(import.meta.url)) await runBuild(addon);
