/** What this machine can compute on: the data behind `unicorn doctor`. */
import { availableParallelism } from 'node:os';
import { isUnicornError, type DeviceDescription, type DeviceInfo } from '@unicorn-exec/tensor';
import { checkOptions, flag, text, type OptionTable } from '../option.js';
import { packageVersion } from '../package-folder.js';
import { selfTest } from './automatic-device.js';
import { knownBackends, type BackendName } from './backends.js';
import type { GpuReport } from './hardware/gpus.js';
import { inspectHardware } from './hardware/hardware.js';
import { readMemory } from './hardware/memory.js';
import type { NpuReport } from './hardware/npu.js';
import { SystemTree } from './hardware/system-tree.js';
import type { SelfTestVerdict } from './self-test.js';
import { openDevice, probeBackends } from './open-device.js';

export interface DiagnoseOptions {
  /** A folder that stands for `/` where the system's files are read. Default: the machine's own. */
  readonly systemRoot?: string | undefined;
  /** Also tests each backend's GPU anew, as `auto` does before it takes one. Takes seconds. Default false. */
  readonly selfTest?: boolean | undefined;
}

/** A device as its backend lists it. */
export interface DiagnosedDevice {
  readonly id: string;
  readonly name: string;
  /** True for a driver that computes on the CPU in a GPU's place. */
  readonly isSoftware: boolean;
  /** Absent where the device cannot be used: `reason` says why. */
  readonly info?: DeviceInfo;
  readonly reason?: string;
  readonly fix?: string;
}

export interface DiagnosedBackend {
  readonly name: string;
  readonly available: boolean;
  readonly devices: readonly DiagnosedDevice[];
  readonly reason?: string;
  readonly fix?: string;
  /** Opening the first usable device, which was tried; absent where there is none. */
  readonly openMs?: number;
}

export interface Diagnosis {
  readonly versions: {
    readonly unicorn: string;
    readonly node: string;
    /** Undefined where the system does not say. */
    readonly kernel?: string;
    /** For people: `Ubuntu 24.04.3 LTS`. */
    readonly system?: string;
  };
  readonly backends: readonly DiagnosedBackend[];
  /** Present when they were asked for: one for each backend that has GPUs. */
  readonly selfTests?: readonly (SelfTestVerdict & { readonly backend: BackendName })[];
  readonly npu: NpuReport;
  readonly gpus: readonly GpuReport[];
  readonly cpu: { readonly name: string; readonly cores: number; readonly architecture: string };
  /** Numbers that the system does not tell are absent. */
  readonly memory: { readonly totalBytes?: number; readonly availableBytes?: number };
  /** False in a container without `/proc`, where much of the above cannot be known. */
  readonly hasProc: boolean;
}

const optionTable: OptionTable<DiagnoseOptions> = { systemRoot: text, selfTest: flag };

/** @throws UnicornError `usage/option` */
export async function diagnose(options: DiagnoseOptions = {}): Promise<Diagnosis> {
  checkOptions('diagnose', options, optionTable);
  const hardware = inspectHardware(new SystemTree({ root: options.systemRoot ?? '/' }));
  const selfTests: (SelfTestVerdict & { backend: BackendName })[] = [];
  if (options.selfTest) {
    for (const known of knownBackends.filter(({ isHost }) => !isHost)) {
      selfTests.push({ backend: known.name, ...(await selfTest(known, {}, true)) });
    }
  }
  const backends: DiagnosedBackend[] = [];
  // One after the other: each is timed.
  for (const { name, devices } of await probeBackends()) backends.push(await diagnoseBackend(name, devices));
  const { npu, gpus, hasProc, kernel, system, processor } = hardware;
  return {
    versions: {
      unicorn: packageVersion(),
      node: process.version,
      ...(kernel === undefined ? {} : { kernel }),
      ...(system === undefined ? {} : { system }),
    },
    backends,
    ...(options.selfTest ? { selfTests } : {}),
    npu,
    gpus,
    cpu: { name: processor ?? 'unknown', cores: availableParallelism(), architecture: process.arch },
    memory: readMemory(),
    hasProc,
  };
}

async function diagnoseBackend(
  name: BackendName,
  devices: readonly DeviceDescription[],
): Promise<DiagnosedBackend> {
  const lack = devices.find((device) => !device.usable);
  const opened = devices.some((device) => device.usable) ? await tryToOpen(name) : {};
  const failure = opened.failure ?? (lack && !lack.usable ? lack : undefined);
  return {
    name,
    available: opened.openMs !== undefined,
    devices: devices.map(diagnoseDevice),
    ...(failure ? { reason: failure.reason, ...(failure.fix ? { fix: failure.fix } : {}) } : {}),
    ...(opened.openMs === undefined ? {} : { openMs: opened.openMs }),
  };
}

function diagnoseDevice(device: DeviceDescription): DiagnosedDevice {
  const { id, name } = device;
  if (device.usable) {
    return { id, name, isSoftware: device.info.hardware?.isSoftware ?? false, info: device.info };
  }
  const { reason, fix } = device;
  return { id, name, isSoftware: false, reason, ...(fix === undefined ? {} : { fix }) };
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
