/** From a backend's name to an open device. */
import { availableParallelism } from 'node:os';
import { backendApiVersion, isUnicornError, UnicornError } from '@unicorn-exec/tensor';
import type { Backend, Device, DeviceDescription, OpenOptions } from '@unicorn-exec/tensor';
import { checkArgument, checkOptions, number, required, text, type OptionTable } from '../option.js';
import { nearestName } from '../nearest-name.js';
import { backendNames, knownBackends, type BackendName, type KnownBackend } from './backends.js';
import { backendRule, type DeviceFallback } from './load-options.js';

export interface OpenedDevice {
  readonly device: Device;
  /** Why the device is not the first choice of `auto`. */
  readonly fallback?: DeviceFallback;
}

export interface OpenDeviceOptions extends OpenOptions {
  /** A device id that the backend's `probe` lists. Default: the first usable one. */
  readonly device?: string | undefined;
}

const openOptionTable: OptionTable<OpenDeviceOptions> = { device: text, threads: number };

/** What `probe` of each known backend says; a backend that cannot even be imported is described too. */
export async function probeBackends(): Promise<
  { readonly name: BackendName; readonly devices: readonly DeviceDescription[] }[]
> {
  return Promise.all(
    knownBackends.map(async ({ name, fix: install, load }) => {
      try {
        return { name, devices: await (await load()).probe() };
      } catch (error) {
        const reason = error instanceof Error ? error.message : String(error);
        const fix = isUnicornError(error) && error.fix ? error.fix : install;
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
 * @throws UnicornError `usage/option`, `unsupported/backend` for a name that this release does not bring, `device/unavailable` when a
 * backend asked for by name has no usable device
 */
export async function openDevice(
  choice: BackendName | Backend,
  options: OpenDeviceOptions = {},
): Promise<OpenedDevice> {
  checkArgument('openDevice', 'choice', choice, required(backendRule));
  checkOptions('openDevice', options, openOptionTable);
  const { device: id, ...asked } = options;
  if (typeof choice !== 'string') return { device: await checked(choice).open(id, asked) };
  const open = withinProcessors(asked);
  if (choice !== 'auto') {
    const known = knownBackends.find(({ name }) => name === choice);
    if (!known) {
      const nearest = nearestName(choice, backendNames);
      throw new UnicornError('unsupported/backend', `The backend "${choice}" is not part of this release.`, {
        fields: { backend: choice, available: backendNames },
        fix: `${nearest === undefined ? '' : `Did you mean "${nearest}"? `}The backends are ${backendNames.join(', ')}.`,
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
    withinProcessors(options),
  );
}

/** Threads beyond the processors that the process may use take turns on them, and all wait for the one whose turn it is not. */
function withinProcessors({ threads, ...open }: OpenOptions): OpenOptions {
  return threads === undefined ? open : { ...open, threads: Math.min(threads, availableParallelism()) };
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
