/** Compiling the native parts on the user's machine, where the package manager blocked install scripts. */
import { callback, checkArgument } from '../option.js';
import { knownBackends, type BackendName } from './backends.js';

export interface NativeBuild {
  readonly backend: BackendName;
  readonly path: string;
  readonly seconds: number;
}

/**
 * Compiles the addon of each backend that has one, one after the other.
 *
 * @param onStart told before each
 * @throws UnicornError `usage/option`, `device/build` with the compiler's own words and the packages to install; those before it are built
 */
export async function buildNative(
  onStart?: (backend: NativeBuild['backend']) => void,
): Promise<readonly NativeBuild[]> {
  checkArgument('buildNative', 'onStart', onStart, callback);
  const built: NativeBuild[] = [];
  for (const { name, buildNative: build } of knownBackends) {
    if (!build) continue;
    onStart?.(name);
    built.push({ backend: name, ...(await build()) });
  }
  return built;
}
