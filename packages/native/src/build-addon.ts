/** Compiling an addon on the user's machine, from the sources that its package ships. */
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { UnicornError } from '@unicorn-exec/tensor';
import { capitalized, type AddonConfig } from './addon-config.js';

/** What `buildAddon` of `tools/build-addon.mjs` resolves with. */
type BuildResult =
  | { readonly ok: true; readonly path: string; readonly seconds: number }
  | { readonly ok: false; readonly reason: string; readonly fix: string; readonly output: string };

/** The `tools/build-native.mjs` of a package with an addon. */
interface BuildTool {
  buildNative(): Promise<BuildResult>;
}

/**
 * Builds `build/Release/<name>.node` in the package's folder, by its `tools/build-native.mjs`. A process that has already
 * loaded the addon keeps what it has.
 *
 * @returns the file and how long it took
 * @throws UnicornError `device/build` with the compiler's own words and the packages to install
 */
export async function buildNativeAddon({
  folder,
  title,
  device,
}: Pick<AddonConfig<never>, 'folder' | 'title' | 'device'>): Promise<{
  readonly path: string;
  readonly seconds: number;
}> {
  const tool = pathToFileURL(join(folder, 'tools', 'build-native.mjs')).href;
  const { buildNative } = (await import(tool)) as BuildTool;
  const result = await buildNative();
  if (!result.ok) {
    const lastLines = result.output.trimEnd().split('\n').slice(-20).join('\n');
    throw new UnicornError('device/build', `${capitalized(title)} could not be built: ${result.reason}.`, {
      fields: { ...(device === undefined ? {} : { device }), reason: result.reason, output: lastLines },
      fix: result.fix,
    });
  }
  return { path: result.path, seconds: result.seconds };
}
