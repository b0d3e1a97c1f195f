/**
 * The one list of the backends that this release brings. Whatever depends on which backends there are asks it: the names
 * that callers and flags may use, the order of `auto`, the fixes in errors, native builds, tuning. No other file of the
 * library or of the command names a backend. It opens nothing and imports a backend only when it is asked to.
 */
import type { Backend } from '@unicorn-exec/tensor';
import type { tuneGraph } from '@unicorn-exec/backend-vulkan';

export type { TunedProduct, TuneProgress, TuneReport } from '@unicorn-exec/backend-vulkan';

/** What a device yields at best, measured now: the roof that its kernels are compared with. */
export interface DeviceRoof {
  /** `copy`: read and written bytes of a copy. `read`: bytes that are only read. */
  readonly kind: 'copy' | 'read';
  readonly bytesPerSecond: number;
  /** The least that a launch takes, where the device launches kernels. */
  readonly launchSeconds?: number;
  /** Number of compute units, where the device has some and says how many. */
  readonly computeUnits?: number;
}

export interface KnownBackend {
  readonly name: string;
  /** False: only when it is asked for by name, or for a device that passed its self-test (`chooseGpu`). */
  readonly automatic: boolean;
  /** True where the backend computes on the CPU, in the host's memory. */
  readonly isHost: boolean;
  /** What installs the package that the backend comes in. */
  readonly fix: string;
  load(): Promise<Backend>;
  /** Compiles the backend's native part on this machine, where it has one. */
  buildNative?(): Promise<{ readonly path: string; readonly seconds: number }>;
  /** The file of the native part that is used, where there is one. It opens no driver. */
  nativeFile?(): Promise<string | undefined>;
  /** Where the loader of the backend's drivers finds their descriptions. */
  readonly driverFolders?: readonly string[];
  /** What installs drivers, for what has none. */
  readonly driverFix?: string;
  /** Environment variables that say which drivers are loaded. */
  readonly driverVariables?: readonly string[];
  /** The search for faster tiles, of a backend that has tiles to choose from. */
  loadTuner?(): Promise<typeof tuneGraph>;
  /** @throws UnicornError as opening the device */
  measureRoof?(deviceId: string | undefined, threads: number | undefined): Promise<DeviceRoof>;
}

/** In the order in which `auto` tries them and native parts are built: without the first one nothing is fast. */
const listed = [
  {
    name: 'cpu',
    automatic: true,
    isHost: true,
    fix: 'npm install @unicorn-exec/backend-cpu',
    load: async () => (await import('@unicorn-exec/backend-cpu')).cpuBackend,
    buildNative: async () => (await import('@unicorn-exec/backend-cpu')).buildNativeAddon(),
    measureRoof: async (_deviceId, threads) => {
      const { measureReadBandwidth } = await import('@unicorn-exec/backend-cpu');
      return { kind: 'read', bytesPerSecond: await measureReadBandwidth(threads) };
    },
  },
  {
    name: 'vulkan',
    automatic: false,
    isHost: false,
    fix: 'npm install @unicorn-exec/backend-vulkan',
    load: async () => (await import('@unicorn-exec/backend-vulkan')).vulkanBackend,
    buildNative: async () => (await import('@unicorn-exec/backend-vulkan')).buildNativeAddon(),
    nativeFile: async () => (await import('@unicorn-exec/backend-vulkan')).diagnoseAddon().loaded?.path,
    driverFolders: ['/etc/vulkan/icd.d', '/usr/local/share/vulkan/icd.d', '/usr/share/vulkan/icd.d'],
    driverFix: 'sudo apt-get install mesa-vulkan-drivers',
    driverVariables: ['VK_DRIVER_FILES', 'VK_ICD_FILENAMES', 'VK_ADD_DRIVER_FILES', 'UNICORN_VULKAN_LOADER'],
    loadTuner: async () => (await import('@unicorn-exec/backend-vulkan')).tuneGraph,
    measureRoof: async (deviceId) => {
      const { measureDevice } = await import('@unicorn-exec/backend-vulkan');
      const { copyBytesPerSecond, launchSeconds, computeUnits } = await measureDevice(deviceId);
      return {
        kind: 'copy',
        bytesPerSecond: copyBytesPerSecond,
        launchSeconds,
        ...(computeUnits > 0 ? { computeUnits } : {}),
      };
    },
  },
  {
    name: 'reference',
    automatic: true,
    isHost: true,
    fix: 'npm install @unicorn-exec/tensor',
    load: async () => (await import('@unicorn-exec/tensor')).referenceBackend,
  },
] as const satisfies readonly KnownBackend[];

/** A backend of the list. */
export type ListedName = (typeof listed)[number]['name'];

/**
 * A backend of the list, or `auto`: for a model a GPU that is real and passed its self-test, else the first automatic one
 * that has a usable device.
 */
export type BackendName = 'auto' | ListedName;

export const knownBackends: readonly (KnownBackend & { readonly name: ListedName })[] = listed;

/** Whether a device of that backend is the CPU. Of the devices of one's own backend nothing is known, so they are not. */
export function isHostBackend(backend: string): boolean {
  return knownBackends.some(({ name, isHost }) => isHost && name === backend);
}

/** The backend whose numbers the others are held to: plain, and slow. */
export const exactBackend: ListedName = 'reference';

/** Everything that may be given as a backend's name. */
export const backendNames: readonly BackendName[] = ['auto', ...knownBackends.map(({ name }) => name)];

/** Names of the backends that have something to tune. */
export const tunableBackends: readonly ListedName[] = knownBackends
  .filter(({ loadTuner }) => loadTuner)
  .map(({ name }) => name);
