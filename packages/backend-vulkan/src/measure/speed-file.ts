/** Keeps the measured rates of one device in a file beside the driver's pipeline cache. */
import { join } from 'node:path';
import { DeviceSpeedFile } from '@unicorn-exec/tensor';
import type { PhysicalDevice } from '../addon.js';
import { cacheFolder } from '../device/pipeline-cache.js';
import { packageFolder } from '../package-folder.js';

/** The properties of a device that its rates depend on. */
export type MeasuredDevice = Pick<
  PhysicalDevice,
  'uuid' | 'pipelineCacheUuid' | 'vendorId' | 'deviceId' | 'driver'
>;

export class SpeedFile extends DeviceSpeedFile {
  constructor({ uuid, ...device }: MeasuredDevice, folder = cacheFolder()) {
    const { pipelineCacheUuid, vendorId, deviceId, driver } = device;
    super({
      path: folder ? join(folder, `speed-${uuid}.json`) : undefined,
      packageFolder,
      device: { pipelineCacheUuid, vendorId, deviceId, driver },
    });
  }
}
