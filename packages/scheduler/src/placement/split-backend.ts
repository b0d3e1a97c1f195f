/** Devices of several backends as one backend, for whoever takes a backend. */
import {
  backendApiVersion,
  UnicornError,
  type Backend,
  type DeviceDescription,
  type DeviceInfo,
  type Planner,
} from '@unicorn-exec/tensor';
import type { ExpectedGraph, Place } from './place.js';
import { SplitDevice } from './split-device.js';
import { splitInfo } from './split-info.js';
import { SplitPlanner } from './split-planner.js';

export interface SplitBackendOptions {
  /** Default: the names of the backends, the last one first. */
  readonly name?: string;
  /** Where the devices come from, in the order of the indices that `place` gives. `id`: the first usable by default. */
  readonly backends: readonly { readonly backend: Backend; readonly id?: string }[];
  readonly place: Place;
  /** See `SplitOptions.graphs`. Default: none. */
  readonly graphs?: readonly ExpectedGraph[];
}

/** A backend of one device, which is several: see {@link SplitDevice}. Its device takes part in nothing that is not placed on it. */
export function createSplitBackend({ name, backends, place, graphs = [] }: SplitBackendOptions): Backend {
  const infoOf = (infos: readonly DeviceInfo[]): DeviceInfo => {
    const info = splitInfo(
      infos,
      graphs.map(({ graph, phase }) => ({ phase, places: place(graph, phase) })),
    );
    return name === undefined ? info : { ...info, backend: name };
  };
  const describe = async (): Promise<DeviceDescription> => {
    const found: DeviceInfo[] = [];
    for (const { backend, id } of backends) {
      const devices = (await backend.probe()).filter((one) => id === undefined || one.id === id);
      const device = devices.find(({ usable }) => usable) ?? devices[0];
      if (device?.usable) found.push(device.info);
      else return unusable(backend, device);
    }
    const info = infoOf(found);
    return { id: info.id, name: info.name, usable: true, info };
  };
  /** The info of several devices holds theirs, so that their own planners can be asked. */
  const planners = ({ parts = [] }: DeviceInfo): Planner[] =>
    backends.map(({ backend }, index) => backend.planner(parts[index]!));
  return {
    name:
      name ??
      [...backends]
        .reverse()
        .map(({ backend }) => backend.name)
        .join('+'),
    apiVersion: backendApiVersion,
    probe: async () => [await describe()],
    async open(wanted, options) {
      const described = await describe();
      if (!described.usable || (wanted !== undefined && wanted !== described.id)) {
        const reason = described.usable ? `There is no device "${wanted}".` : described.reason;
        throw new UnicornError('device/unavailable', reason, {
          fields: { device: wanted ?? described.id },
          ...(described.usable ? { fix: `Open "${described.id}".` } : {}),
        });
      }
      const devices = [];
      try {
        for (const { backend, id } of backends) devices.push(await backend.open(id, options));
        return new SplitDevice({ devices, place, graphs, info: infoOf(devices.map(({ info }) => info)) });
      } catch (error) {
        for (const device of devices) await device.close();
        throw error;
      }
    },
    planner: (info) => new SplitPlanner(planners(info), place),
  };
}

function unusable(backend: Backend, device: DeviceDescription | undefined): DeviceDescription {
  const reason = device?.usable === false ? device.reason : 'it has no such device';
  const fix = device?.usable === false && device.fix !== undefined ? { fix: device.fix } : {};
  return {
    id: device?.id ?? backend.name,
    name: device?.name ?? backend.name,
    usable: false,
    reason: `${backend.name}: ${reason}`,
    ...fix,
  };
}
