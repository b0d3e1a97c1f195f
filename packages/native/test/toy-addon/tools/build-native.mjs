/** Builds the toy addon: what `tools/build-native.mjs` of every package with an addon looks like. */
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildAddon, isProgram, runBuild } from '@unicorn-exec/native/tools/build-addon.mjs';

const addon = {
  folder: dirname(dirname(fileURLToPath(import.meta.url))),
  name: 'toy_addon',
  title: 'the toy addon',
  without: 'Its tests are skipped until it is.',
};

export const buildNative = (options) => buildAddon(addon, options);

if (isProgram(import.meta.url)) await runBuild(addon);
