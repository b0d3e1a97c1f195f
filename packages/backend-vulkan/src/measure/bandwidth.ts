/**
 * Measures the best rate of a device's memory, with which kernels are compared, and the least time of a dispatch. Kernels
 * themselves are measured by `unicorn bench --kernels`.
 */
import { findDevice } from '../backend.js';
import { read, u32, write, type Dispatch } from '../dispatch/dispatch.js';
import { foldedGroups, workgroupSize } from '../kernel/grid.js';
import { KernelRunner } from './kernel-runner.js';
import { loadAddon } from '../load-addon.js';

export interface DeviceRoof {
  /** Rate of a copy from memory to memory: what is read and what is written both count. */
  readonly copyBytesPerSecond: number;
  /** From the start of one dispatch to that of the next, with a barrier between them and nothing to do. */
  readonly launchSeconds: number;
  /** 0 where the driver does not tell. */
  readonly computeUnits: number;
}

/** Bytes of each of the two buffers: several times the last-level cache of any GPU (H200: 50 MB), in a few milliseconds. */
const copiedBytes = 256 * 2 ** 20;

const vectorBytes = 16;
const vectorsPerInvocation = 4;

/** Runs of which the best counts. The first ones also raise the clocks, so there are many. */
const enoughMs = 300;
const mostRuns = 24;

/** Dispatches in a row: many, since the first and the last of a submission take longer. */
const launches = 64;

/** @param source, target both of `byteLength` bytes, a multiple of 16 */
function copy(
  source: Dispatch['arguments'][number],
  target: Dispatch['arguments'][number],
  byteLength: number,
): Dispatch {
  const vectors = byteLength / vectorBytes;
  return {
    pipeline: { shader: 'copy', constants: [workgroupSize, vectorsPerInvocation] },
    arguments: [source, target, u32(vectors)],
    groups: foldedGroups(Math.ceil(vectors / (workgroupSize * vectorsPerInvocation))),
    name: 'copy',
  };
}

/** The shortest time of all, in seconds; nothing that disturbs makes a copy faster. */
const best = (times: readonly Float64Array[]): number => Math.min(...times.flatMap((one) => [...one])) / 1e9;

async function measureCopy(runner: KernelRunner): Promise<number> {
  const [source, target] = [runner.memory(copiedBytes), runner.memory(copiedBytes)];
  const times: Float64Array[] = [];
  const began = performance.now();
  while (times.length < 2 || (times.length < mostRuns && performance.now() - began < enoughMs)) {
    times.push(...(await runner.runOften([copy(read(source), write(target), copiedBytes)], 2)));
  }
  runner.clear();
  return (2 * copiedBytes) / best(times);
}

async function measureLaunch(runner: KernelRunner): Promise<number> {
  const place = runner.memory(2 * vectorBytes);
  const half = { ...place, byteLength: vectorBytes };
  const other = { ...half, byteOffset: half.byteOffset + vectorBytes };
  // There and back: each reads what the one before has written.
  const dispatches = Array.from({ length: launches }, (_, index) =>
    index % 2 === 0
      ? copy(read(half), write(other), vectorBytes)
      : copy(read(other), write(half), vectorBytes),
  );
  const times = await runner.runOften(dispatches, 4);
  runner.clear();
  const sums = times.map((one) => one.reduce((sum, value) => sum + value, 0));
  return Math.min(...sums) / launches / 1e9;
}

/**
 * Takes well under a second, and 512 MiB of device memory meanwhile. Measure while the device does nothing else.
 *
 * @param id of a device as the backend lists them; the first usable one by default
 * @throws UnicornError `device/unavailable`, `device/addon`, `resource/memory`
 */
export async function measureDevice(id?: string): Promise<DeviceRoof> {
  const addon = loadAddon();
  const runner = new KernelRunner(addon, findDevice(addon, id).physical);
  try {
    return {
      copyBytesPerSecond: await measureCopy(runner),
      launchSeconds: await measureLaunch(runner),
      computeUnits: runner.traits.computeUnits,
    };
  } finally {
    runner.close();
  }
}

/** Bytes per second of a copy, read and written; see {@link measureDevice}. */
export async function measureCopyBandwidth(id?: string): Promise<number> {
  return (await measureDevice(id)).copyBytesPerSecond;
}
