/**
 * Measures the rates of a device that a planner estimates with, by graphs that it compiles like any other, tuned tiles
 * included, and by the device's own timestamps: a GPU computes a layer in less time than a submission takes to begin. What
 * memory yields at best is another figure: see `bandwidth.ts`.
 */
import { GraphBuilder, tensorBytes } from '@unicorn-exec/tensor';
import type { CompileOptions, Device, DeviceSpeed, Executable, Graph, Precision } from '@unicorn-exec/tensor';

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

/** A graph is run at least so often and so long: clocks rise in the first runs. */
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
  const reading = products(readMatrices, readOutputs, columns);
  const readBytes = readMatrices * tensorBytes('q4_0', [readOutputs, columns]);
  const product = products(1, productOutputs, columns);
  const productFlops = 2 * productRows * productOutputs * columns;
  const rateOf = async (precision: Precision): Promise<number> =>
    productFlops / (await fastest(device, product, productRows, precision));
  const stepSeconds = (await fastest(device, smallProducts(smallSteps), 1, 'f32')) / smallSteps;
  return {
    bytesPerSecond: readBytes / (await fastest(device, reading, 1, 'fast')),
    flopsPerSecond: { f32: await rateOf('f32'), fast: await rateOf('fast') },
    submitSeconds: Math.max(1e-6, (await submissionSeconds(device)) - stepSeconds),
    stepSeconds,
    basis: 'measured',
  };
}

/** `count` matrices of q4_0 `[outputs, columns]` times the same f32 x `[n, columns]`. */
function products(count: number, outputs: number, columns: number): Graph {
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

/** Compiles a graph over weights and inputs of zeros, since what they are takes no less time, and hands it to `use`. */
async function withExecutable<T>(
  device: Device,
  graph: Graph,
  options: CompileOptions & { readonly dims: { readonly n: number } },
  use: (executable: Executable, run: () => Promise<void>) => Promise<T>,
): Promise<T> {
  const { n } = options.dims;
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
      return {
        name,
        dtype,
        shape: concrete,
        source: { kind: 'bytes', bytes: shared(tensorBytes(dtype, concrete)) },
      };
    }),
  );
  const buffers: Record<string, ReturnType<Device['allocate']>> = {};
  let executable: Executable | undefined;
  try {
    const compiled = (executable = await device.compile(graph, weights, options));
    const { inputs, outputs } = compiled.signature;
    for (const [name, { dtype, shape }] of Object.entries({ ...inputs, ...outputs })) {
      const concrete = shape.map((dim) => (dim === 'n' ? n : Number(dim)));
      buffers[name] = device.allocate(tensorBytes(dtype, concrete));
    }
    return await use(compiled, () => compiled.submit({ dims: { n }, buffers }).done);
  } finally {
    executable?.dispose();
    weights.dispose();
    for (const buffer of Object.values(buffers)) buffer.dispose();
  }
}

/** Seconds that all steps of a graph take, in the fastest of several runs. */
function fastest(device: Device, graph: Graph, n: number, precision: Precision): Promise<number> {
  return withExecutable(device, graph, { dims: { n }, precision, profile: true }, async (executable, run) => {
    const spent = (): number => executable.profile().reduce((sum, { seconds }) => sum + seconds, 0);
    let best = Infinity;
    const end = performance.now() + runMilliseconds;
    for (let count = 0; count < fewestRuns || performance.now() < end; count++) {
      const before = spent();
      await run();
      best = Math.min(best, spent() - before);
    }
    return best;
  });
}

/** Seconds from the call of `submit` to the resolution of `done` of one small step, at the median. */
function submissionSeconds(device: Device): Promise<number> {
  return withExecutable(device, smallProducts(1), { dims: { n: 1 }, precision: 'f32' }, async (_, run) => {
    const seconds: number[] = [];
    for (let count = 0; count < submissions; count++) {
      const begin = performance.now();
      await run();
      seconds.push((performance.now() - begin) / 1e3);
    }
    return seconds.sort((a, b) => a - b)[submissions >> 1]!;
  });
}
