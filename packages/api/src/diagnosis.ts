/** What this machine can compute on: the data behind `unicorn doctor`. */
import { availableParallelism, cpus, totalmem } from 'node:os';
import { probeBackends } from './backend-choice.js';
import { availableMemoryBytes } from './context-length.js';
import type { DeviceInfo } from '@unicorn-exec/tensor';

export interface Diagnosis {
  readonly backends: readonly {
    readonly name: string;
    readonly available: boolean;
    readonly devices: readonly { readonly id: string; readonly name: string; readonly info?: DeviceInfo }[];
    readonly reason?: string;
    readonly fix?: string;
  }[];
  readonly cpu: { readonly name: string; readonly cores: number; readonly architecture: string };
  readonly memory: { readonly totalBytes: number; readonly availableBytes: number };
  readonly node: string;
}

export async function diagnose(): Promise<Diagnosis> {
  const probed = await probeBackends();
  return {
    backends: probed.map(({ name, devices }) => {
      const lack = devices.find((device) => !device.usable);
      return {
        name,
        available: devices.some((device) => device.usable),
        devices: devices.map((device) => ({
          id: device.id,
          name: device.name,
          ...(device.usable ? { info: device.info } : {}),
        })),
        ...(lack && !lack.usable ? { reason: lack.reason, ...(lack.fix ? { fix: lack.fix } : {}) } : {}),
      };
    }),
    cpu: {
      name: cpus()[0]?.model.trim() ?? 'unknown',
      cores: availableParallelism(),
      architecture: process.arch,
    },
    memory: { totalBytes: totalmem(), availableBytes: availableMemoryBytes() },
    node: process.version,
  };
}
