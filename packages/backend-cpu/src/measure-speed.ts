/**
 * Measures the rates of a device by graphs that it compiles like any other: what a planner estimates with is what
 * submissions reach, fused steps, packing and handing over included.
 */
import { GraphBuilder, tensorBytes } from '@unicorn-exec/tensor';
import type {
  Bindings,
  Device,
  DeviceSpeed,
  Executable,
  Graph,
  Precision,
  SubmissionTime,
} from '@unicorn-exec/tensor';

/** Rows of a chunk of a prompt: enough that every weight is used often and the rate no longer rises. */
const productRows = 256;
/** Columns of one product, which is as large as the layers of a model of some billion parameters. */
const productColumns = 2048;
const productOutputs = 4096;

/** A matrix of which one row's product reads every byte. */
const readOutputs = 8192;
const readColumns = 4096;
/** Together 151 MB, larger than any cache that a core has to itself. */
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
  const matrix = product(1, productOutputs, productColumns);
  const f32 = await prepare(device, matrix, productRows, 'f32');
  const fast = await prepare(device, matrix, productRows, 'fast');
  const reading = await prepare(device, product(readMatrices, readOutputs, readColumns), 1, 'fast');
  const few = await prepare(device, smallProducts(1), 1, 'f32');
  const many = await prepare(device, smallProducts(smallSteps), 1, 'f32');
  const all = [f32, fast, reading, few, many];
  for (let round = 0; round < rounds; round++) {
    for (const prepared of all) await takeTurn(prepared);
  }
  for (const prepared of all) prepared.dispose();
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
}

/** `count` matrices of q4_0 `[outputs, columns]` times the same f32 x `[n, columns]`. */
function product(count: number, outputs: number, columns: number): Graph {
  const builder = new GraphBuilder('products');
  const x = builder.input('x', 'f32', ['n', columns]);
  for (let i = 0; i < count; i++) {
    const weight = builder.weight(`w${i}`, { dtype: 'q4_0', shape: [outputs, columns] });
    builder.output(`y${i}`, builder.matmul(x, weight));
  }
  return builder.build();
}

function smallProducts(count: number): Graph {
  const builder = new GraphBuilder('small products');
  let x = builder.input('x', 'f32', ['n', smallColumns]);
  const weight = builder.weight('w', { dtype: 'f32', shape: [smallColumns, smallColumns] });
  for (let i = 0; i < count; i++) x = builder.matmul(x, weight);
  builder.output('y', x);
  return builder.build();
}

interface Prepared {
  readonly executable: Executable;
  readonly bindings: Bindings;
  /** Seconds that the device worked on each submission so far. */
  readonly workSeconds: number[];
  /** Seconds from each call of `submit` to the resolution of `done` beyond the work. */
  readonly aroundSeconds: number[];
  dispose(): void;
}

/** Compiles a graph over weights and inputs of zeros: what they are takes no less time. */
async function prepare(device: Device, graph: Graph, n: number, precision: Precision): Promise<Prepared> {
  const zeros = new Map<number, Uint8Array>();
  const shared = (byteLength: number): Uint8Array => {
    const bytes = zeros.get(byteLength) ?? new Uint8Array(byteLength);
    zeros.set(byteLength, bytes);
    return bytes;
  };
  const specs = new Map(
    graph.values.flatMap(({ source }) => (source.kind === 'weight' ? [[source.name, source.stored]] : [])),
  );
  const weights = await device.load(
    [...specs].map(([name, { dtype, shape }]) => {
      const concrete = shape as readonly number[];
      const bytes = shared(tensorBytes(dtype, concrete));
      return { name, dtype, shape: concrete, source: { kind: 'bytes', bytes } };
    }),
  );
  const executable = await device.compile(graph, weights, { dims: { n }, precision });
  const { inputs, outputs } = executable.signature;
  const buffers = Object.entries({ ...inputs, ...outputs }).map(
    ([name, { dtype, shape }]) =>
      [
        name,
        device.allocate(
          tensorBytes(
            dtype,
            shape.map((dim) => (dim === 'n' ? n : (dim as number))),
          ),
        ),
      ] as const,
  );
  return {
    executable,
    bindings: { dims: { n }, buffers: Object.fromEntries(buffers) },
    workSeconds: [],
    aroundSeconds: [],
    dispose() {
      executable.dispose();
      weights.dispose();
      for (const [, buffer] of buffers) buffer.dispose();
    },
  };
}

async function takeTurn({ executable, bindings, workSeconds, aroundSeconds }: Prepared): Promise<void> {
  const end = performance.now() + turnMilliseconds;
  do {
    const begin = performance.now();
    const completion = executable.submit(bindings);
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

/** What is usual without disturbance: a quarter of the values are lower. */
function lowerQuartile(seconds: readonly number[]): number {
  return seconds.toSorted((a, b) => a - b)[seconds.length >> 2]!;
}
