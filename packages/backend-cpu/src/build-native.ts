/** Compiling the addon on the user's machine, from the sources that the package ships. */
import * as native from '@unicorn-exec/native';
import { addonConfig } from './load-addon.js';

/**
 * Builds `build/Release/unicorn_cpu.node` in this package's folder. A process that has already loaded an addon keeps it.
 *
 * @returns the file and how long it took, in seconds
 * @throws UnicornError `device/build` with the compiler's own words and the packages to install
 */
export function buildNativeAddon(): Promise<{ readonly path: string; readonly seconds: number }> {
  return native.buildNativeAddon(addonConfig);
}
