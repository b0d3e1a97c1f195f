/**
 * Measures the rates of a device that a planner estimates with, by graphs that it compiles like any other, tuned tiles
 * included, and by the device's own timestamps: a GPU computes a layer in less time than a submission takes to begin. What
 * memory yields at best is another figure: see `bandwidth.ts`.
 */
import { prepareProbe, productChain, productsGraph, tensorBytes } from '@unicorn-exec/tensor';
import type { Device, DeviceSpeed, Graph, Precision } from '@unicorn-exec/tensor';

interface Sizes {
  /** Matrices that a single row is multiplied with: together larger than caches of the last level are (H200: 50 MB). */
  readonly readMatrices: number;
  readonly readOutputs: number;
  /** Rows of a chunk of a prompt: enough that every weight is used often and the rate no longer rises. */
  readonly productRows: number;
  readonly productOutputs: number;
  /** Columns of all matrices. */
  readonly columns: number;
}

/** Layers of a model of some billion parameters; 151 MB are read. */
const gpuSizes: Sizes = {
  readMatrices: 4,
  readOutputs: 16_384,
  productRows: 256,
  productOutputs: 4096,
  columns: 4096,
};

/** For drivers that compute on the CPU, which are a thousand times as slow. */
const softwareSizes: Sizes = {
  readMatrices: 2,
  readOutputs: 2048,
  productRows: 32,
  productOutputs: 1024,
  columns: 2048,
};

/** The least runs and the least time of a graph: clocks rise in the first runs. */
const fewestRuns = 4;
const runMilliseconds = 150;

/** Products that wait for each other, so small that their steps cost more than their work. */
const smallSteps = 64;
const smallColumns = 32;

/** Submissions of which the median counts. */
const submissions = 33;

/**
 * Takes a second or two. Nothing else should run on the device meanwhile.
 *
 * @throws UnicornError `resource/memory` when the 200 MB that it takes for a moment cannot be had
 */
export async function measureSpeed(device: Device): Promise<DeviceSpeed> {
  const sizes = device.info.features.includes('software') ? softwareSizes : gpuSizes;
  const { readMatrices, readOutputs, productRows, productOutputs, columns } = sizes;
  const reading = productsGraph(readMatrices, readOutputs, columns);
  const readBytes = readMatrices * tensorBytes('q4_0', [readOutputs, columns]);
  const product = productsGraph(1, productOutputs, columns);
  const productFlops = 2 * productRows * productOutputs * columns;
  const rateOf = async (precision: Precision): Promise<number> =>
    productFlops / (await fastest(device, product, productRows, precision));
  const stepSeconds = (await fastest(device, productChain(smallSteps, smallColumns), 1, 'f32')) / smallSteps;
  return {
    bytesPerSecond: readBytes / (await fastest(device, reading, 1, 'fast')),
    flopsPerSecond: { f32: await rateOf('f32'), fast: await rateOf('fast') },
    submitSeconds: Math.max(1e-6, (await submissionSeconds(device)) - stepSeconds),
    stepSeconds,
    basis: 'measured',
  };
}

/** Seconds that all steps of a graph take, in the fastest of several runs. */
async function fastest(device: Device, graph: Graph, n: number, precision: Precision): Promise<number> {
  const probe = await prepareProbe(device, graph, n, { precision, profile: true });
  const { executable, bindings } = probe;
  try {
    const spent = (): number => executable.profile().reduce((sum, { seconds }) => sum + seconds, 0);
    let best = Infinity;
    const end = performance.now() + runMilliseconds;
    for (let count = 0; count < fewestRuns || performance.now() < end; count++) {
      const before = spent();
      await executable.submit(bindings).done;
      best = Math.min(best, spent() - before);
    }
    return best;
  } finally {
    probe.dispose();
  }
}

/** Seconds from the call of `submit` to the resolution of `done` of one small step, at the median. */
async function submissionSeconds(device: Device): Promise<number> {
  const probe = await prepareProbe(device, productChain(1, smallColumns), 1, { precision: 'f32' });
  try {
    const seconds: number[] = [];
    for (let count = 0; count < submissions; count++) {
      const begin = performance.now();
      await probe.executable.submit(probe.bindings).done;
      seconds.push((performance.now() - begin) / 1e3);
    }
    return seconds.sort((a, b) => a - b)[submissions >> 1]!;
  } finally {
    probe.dispose();
  }
}
