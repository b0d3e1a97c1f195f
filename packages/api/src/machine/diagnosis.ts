/** What this machine can compute on: the data behind `unicorn doctor`. */
import { availableParallelism, cpus, totalmem } from 'node:os';
import type { BackendName } from './backends.js';
import { openDevice, probeBackends } from './open-device.js';
import { availableMemoryBytes } from './context-length.js';
import { isUnicornError, type DeviceInfo } from '@unicorn-exec/tensor';

export interface Diagnosis {
  readonly backends: readonly {
    readonly name: string;
    readonly available: boolean;
    readonly devices: readonly { readonly id: string; readonly name: string; readonly info?: DeviceInfo }[];
    readonly reason?: string;
    readonly fix?: string;
    /** Opening the first usable device, which was tried; absent where there is none. */
    readonly openMs?: number;
  }[];
  readonly cpu: { readonly name: string; readonly cores: number; readonly architecture: string };
  readonly memory: { readonly totalBytes: number; readonly availableBytes: number };
  readonly node: string;
}

export async function diagnose(): Promise<Diagnosis> {
  const probed = await probeBackends();
  const backends: Diagnosis['backends'][number][] = [];
  // One after the other: each is timed.
  for (const { name, devices } of probed) {
    const lack = devices.find((device) => !device.usable);
    const opened = devices.some((device) => device.usable) ? await tryToOpen(name) : {};
    const failure = opened.failure ?? (lack && !lack.usable ? lack : undefined);
    backends.push({
      name,
      available: opened.openMs !== undefined,
      devices: devices.map((device) => ({
        id: device.id,
        name: device.name,
        ...(device.usable ? { info: device.info } : {}),
      })),
      ...(failure ? { reason: failure.reason, ...(failure.fix ? { fix: failure.fix } : {}) } : {}),
      ...(opened.openMs === undefined ? {} : { openMs: opened.openMs }),
    });
  }
  return {
    backends,
    cpu: {
      name: cpus()[0]?.model.trim() ?? 'unknown',
      cores: availableParallelism(),
      architecture: process.arch,
    },
    memory: { totalBytes: totalmem(), availableBytes: availableMemoryBytes() },
    node: process.version,
  };
}

/** A device that is listed may still refuse to open: all of its memory in use, a driver half updated. */
async function tryToOpen(
  backend: BackendName,
): Promise<{ openMs?: number; failure?: { reason: string; fix?: string | undefined } }> {
  const began = performance.now();
  try {
    const { device } = await openDevice(backend, {});
    const openMs = performance.now() - began;
    await device.close();
    return { openMs };
  } catch (error) {
    if (!isUnicornError(error)) throw error;
    return { failure: { reason: error.message, fix: error.fix } };
  }
}
