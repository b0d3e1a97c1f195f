/** Compiling the native parts on the user's machine, where the package manager blocked install scripts. */

export interface NativeBuild {
  readonly backend: 'cpu' | 'vulkan';
  readonly path: string;
  readonly seconds: number;
}

/** Each backend that has a native part, with what compiles it. The CPU's comes first: without it nothing is fast. */
const builders: readonly {
  readonly backend: NativeBuild['backend'];
  build(): Promise<Omit<NativeBuild, 'backend'>>;
}[] = [
  {
    backend: 'cpu',
    build: async () => (await import('@unicorn-exec/backend-cpu')).buildNativeAddon(),
  },
  {
    backend: 'vulkan',
    build: async () => (await import('@unicorn-exec/backend-vulkan')).buildNativeAddon(),
  },
];

/**
 * Compiles the addons one after the other.
 *
 * @param onStart told before each
 * @throws UnicornError `device/build` with the compiler's own words and the packages to install; those before it are built
 */
export async function buildNative(
  onStart?: (backend: NativeBuild['backend']) => void,
): Promise<readonly NativeBuild[]> {
  const built: NativeBuild[] = [];
  for (const { backend, build } of builders) {
    onStart?.(backend);
    built.push({ backend, ...(await build()) });
  }
  return built;
}
