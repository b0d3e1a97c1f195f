/** From a backend's name to an open device. The only place in the library that names concrete backends. */
import { backendApiVersion, isUnicornError, referenceBackend, UnicornError } from '@unicorn-exec/tensor';
import type { Backend, Device, DeviceDescription, OpenOptions } from '@unicorn-exec/tensor';

export const backendNames = ['auto', 'cpu', 'vulkan', 'npu', 'hybrid', 'reference'] as const;
export type BackendName = (typeof backendNames)[number];

export interface OpenedDevice {
  readonly device: Device;
  /** Why the device is not the first choice of `auto`; a fallback announces itself. */
  readonly fallback?: { readonly from: string; readonly reason: string; readonly fix?: string };
}

export interface KnownBackend {
  readonly name: string;
  /** False: only when it is asked for by name. */
  readonly automatic: boolean;
  /** Computes on the CPU. */
  readonly isHost: boolean;
  load(): Promise<Backend>;
}

/** Backends that this release brings, in the order in which `auto` tries them. */
export const knownBackends: readonly KnownBackend[] = [
  {
    name: 'cpu',
    automatic: true,
    isHost: true,
    load: async () => (await import('@unicorn-exec/backend-cpu')).cpuBackend,
  },
  {
    name: 'vulkan',
    automatic: false,
    isHost: false,
    load: async () => (await import('@unicorn-exec/backend-vulkan')).vulkanBackend,
  },
  { name: 'reference', automatic: true, isHost: true, load: async () => referenceBackend },
];

/** What `probe` of each known backend says; a backend that cannot even be imported is described too. */
export async function probeBackends(): Promise<{ name: string; devices: readonly DeviceDescription[] }[]> {
  return Promise.all(
    knownBackends.map(async ({ name, load }) => {
      try {
        return { name, devices: await (await load()).probe() };
      } catch (error) {
        const reason = error instanceof Error ? error.message : String(error);
        const fix =
          isUnicornError(error) && error.fix ? error.fix : `npm install @unicorn-exec/backend-${name}`;
        return { name, devices: [{ id: name, name, usable: false as const, reason, fix }] };
      }
    }),
  );
}

/**
 * Opens the device that the choice means.
 *
 * @param choice a backend of one's own, or a name; `auto` takes the first of the automatic backends
 * that has a usable device
 * @throws UnicornError `unsupported/backend` for a name that this release does not bring, `device/unavailable` when a
 * backend asked for by name has no usable device
 */
export async function openDevice(
  choice: BackendName | Backend,
  options: OpenOptions & { device?: string | undefined },
): Promise<OpenedDevice> {
  const { device: id, ...open } = options;
  if (typeof choice !== 'string') return { device: await checked(choice).open(id, open) };
  if (choice !== 'auto') {
    const known = knownBackends.find(({ name }) => name === choice);
    if (!known) {
      throw new UnicornError('unsupported/backend', `The backend "${choice}" is not part of this release.`, {
        fields: { backend: choice, available: knownBackends.map(({ name }) => name) },
        fix: `Use --backend ${knownBackends.map(({ name }) => name).join(', ')} or auto.`,
      });
    }
    return { device: await checked(await known.load()).open(id, open) };
  }
  return openFirst(
    knownBackends.filter(({ automatic }) => automatic),
    id,
    open,
  );
}

/** Opens the CPU, for what runs there beside another device. @throws UnicornError `device/unavailable` */
export async function openHost(options: OpenOptions): Promise<OpenedDevice> {
  return openFirst(
    knownBackends.filter(({ isHost }) => isHost),
    undefined,
    options,
  );
}

/** @throws UnicornError `device/unavailable` when none has a usable device */
async function openFirst(
  backends: readonly KnownBackend[],
  id: string | undefined,
  open: OpenOptions,
): Promise<OpenedDevice> {
  let fallback: OpenedDevice['fallback'];
  for (const { name, load } of backends) {
    try {
      const device = await checked(await load()).open(id, open);
      return fallback ? { device, fallback } : { device };
    } catch (error) {
      if (!isUnicornError(error) || error.family === 'usage') throw error;
      fallback ??= { from: name, reason: error.message, ...(error.fix ? { fix: error.fix } : {}) };
    }
  }
  throw new UnicornError('device/unavailable', `No backend has a usable device: ${fallback?.reason}`);
}

function checked(backend: Backend): Backend {
  if (backend.apiVersion !== backendApiVersion) {
    throw new UnicornError(
      'unsupported/backend-version',
      `The backend "${backend.name}" speaks version ${backend.apiVersion} of the contract; this release speaks ${backendApiVersion}.`,
      { fields: { backend: backend.name }, fix: 'Install versions of the packages that belong together.' },
    );
  }
  return backend;
}
