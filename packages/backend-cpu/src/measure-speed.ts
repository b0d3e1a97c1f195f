/**
 * Measures the rates of a device by graphs that it compiles like any other, so that a planner estimates with the rates that
 * submissions reach, fused steps, packing and the way through the queue included.
 */
import { prepareProbe, productChain, productsGraph, tensorBytes } from '@unicorn-exec/tensor';
import type { Device, DeviceSpeed, Graph, Precision, SpeedProbe, SubmissionTime } from '@unicorn-exec/tensor';

/** Rows of a chunk of a prompt: enough that every weight is used often and the rate no longer rises. */
const productRows = 256;
/** Columns of one product, which is as large as the layers of a model of some billion parameters. */
const productColumns = 2048;
const productOutputs = 4096;

/** Rows of the matrix whose every byte the product of one row reads. */
const readOutputs = 8192;
const readColumns = 4096;
/** The number of matrices: together 151 MB, more than any cache that a core has to itself. */
const readMatrices = 8;

/**
 * Every graph has its turn in each round, so that its runs lie apart: what else the machine does for a while then spoils
 * some of them, and the fastest counts.
 */
const rounds = 10;
const turnMilliseconds = 30;

/**
 * Products that wait for each other, so small that their steps cost more than their work, and so few that all are often
 * done before others take a thread's processor away.
 */
const smallSteps = 32;
const smallColumns = 32;

/**
 * Takes about two seconds. Nothing else should run on the device meanwhile.
 *
 * @throws UnicornError `resource/memory` when the 300 MB that it takes for a moment cannot be had
 */
export async function measureSpeed(device: Device): Promise<DeviceSpeed> {
  const made: TimedProbe[] = [];
  const prepare = async (graph: Graph, n: number, precision: Precision): Promise<TimedProbe> => {
    const probe = await prepareProbe(device, graph, n, { precision });
    const timed = { probe, workSeconds: [], aroundSeconds: [] };
    made.push(timed);
    return timed;
  };
  try {
    const matrix = productsGraph(1, productOutputs, productColumns);
    const f32 = await prepare(matrix, productRows, 'f32');
    const fast = await prepare(matrix, productRows, 'fast');
    const reading = await prepare(productsGraph(readMatrices, readOutputs, readColumns), 1, 'fast');
    const few = await prepare(productChain(1, smallColumns), 1, 'f32');
    const many = await prepare(productChain(smallSteps, smallColumns), 1, 'f32');
    for (let round = 0; round < rounds; round++) {
      for (const timed of made) await takeTurn(timed);
    }
    const productFlops = 2 * productRows * productColumns * productOutputs;
    const readBytes = readMatrices * tensorBytes('q4_0', [readOutputs, readColumns]);
    return {
      bytesPerSecond: readBytes / least(reading.workSeconds),
      flopsPerSecond: {
        f32: productFlops / least(f32.workSeconds),
        fast: productFlops / least(fast.workSeconds),
      },
      submitSeconds: lowerQuartile(few.aroundSeconds),
      // Clocks are noisier than a step of a single thread is long.
      stepSeconds: Math.max(1e-7, (least(many.workSeconds) - least(few.workSeconds)) / (smallSteps - 1)),
      basis: 'measured',
    };
  } finally {
    for (const { probe } of made) probe.dispose();
  }
}

interface TimedProbe {
  readonly probe: SpeedProbe;
  /** Seconds that the device worked on each submission so far. */
  readonly workSeconds: number[];
  /** Seconds from each call of `submit` to the resolution of `done` beyond the work. */
  readonly aroundSeconds: number[];
}

async function takeTurn({ probe, workSeconds, aroundSeconds }: TimedProbe): Promise<void> {
  const end = performance.now() + turnMilliseconds;
  do {
    const begin = performance.now();
    const completion = probe.executable.submit(probe.bindings);
    await completion.done;
    const around = performance.now() - begin;
    const [{ beginMs, endMs }] = completion.times() as [SubmissionTime];
    workSeconds.push((endMs - beginMs) / 1e3);
    aroundSeconds.push((around - (endMs - beginMs)) / 1e3);
  } while (performance.now() < end);
}

function least(seconds: readonly number[]): number {
  return seconds.reduce((a, b) => Math.min(a, b));
}

/** The lower quartile, which is usual without disturbance. */
function lowerQuartile(seconds: readonly number[]): number {
  return seconds.toSorted((a, b) => a - b)[seconds.length >> 2]!;
}
