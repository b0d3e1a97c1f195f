/** The backend `vulkan`: every GPU that the Vulkan loader lists, drivers that compute on the CPU last. */
import { guarded } from '@unicorn-exec/native';
import { backendApiVersion, isUnicornError, UnicornError } from '@unicorn-exec/tensor';
import type { Backend, DeviceDescription, DeviceInfo, DeviceSpeed } from '@unicorn-exec/tensor';
import type { NativeAddon, PhysicalDevice } from './addon.js';
import { VulkanPlanner } from './device/planner.js';
import { VulkanDevice } from './device/device.js';
import { loadAddon } from './load-addon.js';
import { deviceInfo } from './device/traits.js';
import { measureSpeed } from './measure/speed.js';
import { SpeedFile } from './measure/speed-file.js';

/** `1` enables the Khronos validation layer, whose messages are kept for {@link validationMessages}. */
export const validationVariable = 'UNICORN_VULKAN_VALIDATION';

/** The faster kind first. */
const kindOrder: readonly PhysicalDevice['kind'][] = ['discrete', 'integrated', 'virtual', 'other', 'cpu'];

interface Listed {
  readonly id: string;
  readonly physical: PhysicalDevice;
}

/** @throws UnicornError `device/unavailable` when there is no loader, or it lists nothing */
function listDevices(addon: NativeAddon): Listed[] {
  const found = guarded(() => addon.probe(process.env[validationVariable] === '1'));
  if ('reason' in found) throw new UnicornError('device/unavailable', found.reason, { fix: found.fix });
  const rank = ({ kind }: PhysicalDevice): number => kindOrder.indexOf(kind);
  const sorted = [...found.devices].sort((a, b) => rank(a) - rank(b) || a.index - b.index);
  return sorted.map((physical, index) => ({ id: `vulkan${index}`, physical }));
}

function describe({ id, physical }: Listed): DeviceDescription {
  const info = deviceInfo(physical, id, new SpeedFile(physical).read());
  if (physical.missing.length === 0) return { id, name: info.name, usable: true, info };
  const reason = `The device or its driver lacks ${physical.missing.join(', ')}.`;
  return { id, name: info.name, usable: false, reason, fix: 'Install a newer driver.' };
}

/**
 * @param id one that `probe` lists, or a UUID; the first usable device by default
 * @throws UnicornError `device/unavailable` with the reason and the fix
 */
export function findDevice(
  addon: NativeAddon,
  id?: string,
): { readonly info: DeviceInfo; readonly physical: PhysicalDevice } {
  const listed = listDevices(addon);
  const chosen = listed.find(({ id: own, physical }) =>
    id === undefined ? physical.missing.length === 0 : own === id || physical.uuid === id,
  );
  if (!chosen) {
    const devices = listed.map((one) => one.id);
    const which = id === undefined ? 'usable device' : `device "${id}"`;
    throw new UnicornError('device/unavailable', `The Vulkan backend has no ${which}.`, {
      fields: { device: id, devices },
      fix: devices.length > 0 ? `Use one of ${devices.join(', ')}.` : 'Install a Vulkan driver.',
    });
  }
  const description = describe(chosen);
  if (!description.usable) {
    const { reason, fix } = description;
    throw new UnicornError('device/unavailable', reason, {
      fields: { device: chosen.id, missing: [...chosen.physical.missing] },
      ...(fix === undefined ? {} : { fix }),
    });
  }
  return { info: description.info, physical: chosen.physical };
}

/** Warnings and errors of the validation layer since the last call, in this process. */
export function validationMessages(): readonly string[] {
  return loadAddon().validationMessages();
}

export interface VulkanBackend extends Backend {
  /**
   * Also throws what writing them throws: `usage/file`, `resource/disk`. They are kept in the cache folder
   * (`UNICORN_VULKAN_CACHE`); without one they are only returned.
   */
  measure(id?: string): Promise<DeviceSpeed>;
}

/** The backend `vulkan`. Devices are `vulkan0` and so on; `open` takes their UUIDs too. */
export const vulkanBackend: VulkanBackend = {
  name: 'vulkan',
  apiVersion: backendApiVersion,

  async probe() {
    try {
      return listDevices(loadAddon()).map(describe);
    } catch (error) {
      if (!isUnicornError(error)) throw error;
      const fix = error.fix === undefined ? {} : { fix: error.fix };
      return [{ id: 'vulkan', name: 'Vulkan', usable: false, reason: error.message, ...fix }];
    }
  },

  async open(id) {
    const addon = loadAddon();
    const { info, physical } = findDevice(addon, id);
    return new VulkanDevice(addon, info, physical);
  },

  planner: (info) => new VulkanPlanner(info),

  async measure(id) {
    const addon = loadAddon();
    const { info, physical } = findDevice(addon, id);
    const device = new VulkanDevice(addon, info, physical);
    try {
      const speed = await measureSpeed(device);
      await new SpeedFile(physical).write(speed);
      return speed;
    } finally {
      await device.close();
    }
  },
};
