/** What a backend's device yields at best, measured now: the roof that its kernels are compared with. */
import { readBandwidth } from './read-bandwidth.js';

export interface DeviceSpeed {
  /** `copy`: read and written bytes of a copy. `read`: bytes that are only read. */
  readonly kind: 'copy' | 'read';
  readonly bytesPerSecond: number;
  /** The least that a launch takes, where the device launches kernels. */
  readonly launchSeconds?: number;
  /** Of a device that has compute units and tells how many. */
  readonly computeUnits?: number;
}

/**
 * Measure while the device does nothing else.
 *
 * @param backend name of the backend; what is not an accelerator computes in the host's memory
 * @throws UnicornError as opening the device
 */
export async function measureDeviceSpeed(backend: {
  readonly name: string;
  readonly deviceId: string;
  readonly threads?: number;
}): Promise<DeviceSpeed> {
  if (backend.name !== 'vulkan') {
    return { kind: 'read', bytesPerSecond: await readBandwidth(backend.threads) };
  }
  const { measureDevice } = await import('@unicorn-exec/backend-vulkan');
  const { copyBytesPerSecond, launchSeconds, computeUnits } = await measureDevice(backend.deviceId);
  return {
    kind: 'copy',
    bytesPerSecond: copyBytesPerSecond,
    launchSeconds,
    ...(computeUnits > 0 ? { computeUnits } : {}),
  };
}
