/** Compiling the addon on the user's machine, from the sources that the package ships. No Vulkan SDK is needed. */
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { UnicornError } from '@unicorn-exec/tensor';
import { packageFolder } from './load-addon.js';

type BuildResult =
  | { readonly ok: true; readonly path: string; readonly seconds: number }
  | { readonly ok: false; readonly reason: string; readonly fix: string; readonly output: string };

interface BuildTool {
  buildNative(options?: { sanitize?: string }): Promise<BuildResult>;
}

/**
 * Builds `build/Release/unicorn_vulkan.node` in this package's folder. A process that has already loaded an addon keeps it.
 *
 * @returns the file and how long it took
 * @throws UnicornError `device/build` with the compiler's own words and the packages to install
 */
export async function buildNativeAddon(): Promise<{ readonly path: string; readonly seconds: number }> {
  const tool = pathToFileURL(join(packageFolder, 'tools', 'build-native.mjs')).href;
  const { buildNative } = (await import(tool)) as BuildTool;
  const result = await buildNative();
  if (!result.ok) {
    const lastLines = result.output.trimEnd().split('\n').slice(-20).join('\n');
    throw new UnicornError(
      'device/build',
      `The native part of the Vulkan backend was not built: ${result.reason}.`,
      { fields: { reason: result.reason, output: lastLines }, fix: result.fix },
    );
  }
  return { path: result.path, seconds: result.seconds };
}
