/** Compiling the native kernels on the user's machine, where the package manager blocked install scripts. */

/** @throws UnicornError `device/build` with the compiler's own words and the packages to install */
export async function buildNative(): Promise<void> {
  const { buildNativeAddon } = await import('@unicorn-exec/backend-cpu');
  await buildNativeAddon();
}
