/**
 * Measures the rates of a device by graphs that it compiles like any other: what a planner estimates with is what
 * submissions reach, fused steps, packing and handing over included.
 */
import { GraphBuilder, tensorBytes } from '@unicorn-exec/tensor';
import type { Binding, Device, DeviceSpeed, Executable, Graph, Precision } from '@unicorn-exec/tensor';

/** Rows of a chunk of a prompt: enough that every weight is used often and the rate no longer rises. */
const productRows = 256;
/** Of one product: as large as the layers of a model of some billion parameters. */
const productColumns = 2048;
const productOutputs = 4096;

/** A matrix of which one row's product reads every byte. */
const readOutputs = 8192;
const readColumns = 4096;
/** Together 151 MB, larger than any cache that a core has to itself. */
const readMatrices = 8;

/** A graph is run at least so often and so long. */
const fewestRuns = 6;
const runMilliseconds = 150;

/** Products that wait for each other, so small that their steps cost more than their work. */
const smallSteps = 128;
const smallColumns = 32;

/**
 * Takes about two seconds. Nothing else should run on the device meanwhile.
 *
 * @throws UnicornError `resource/memory` when the 300 MB that it takes for a moment cannot be had
 */
export async function measureSpeed(device: Device): Promise<DeviceSpeed> {
  const productSeconds = (precision: Precision): Promise<number> =>
    fastest(device, product(1, productOutputs, productColumns), productRows, precision);
  const productFlops = 2 * productRows * productColumns * productOutputs;
  const reading = product(readMatrices, readOutputs, readColumns);
  const readBytes = readMatrices * tensorBytes('q4_0', [readOutputs, readColumns]);
  const [few, many] = [smallProducts(1), smallProducts(smallSteps)];
  const stepsSeconds = (await fastest(device, many, 1, 'f32')) - (await fastest(device, few, 1, 'f32'));
  return {
    bytesPerSecond: readBytes / (await fastest(device, reading, 1, 'fast')),
    flopsPerSecond: {
      f32: productFlops / (await productSeconds('f32')),
      fast: productFlops / (await productSeconds('fast')),
    },
    submitSeconds: await submissionSeconds(device, few),
    // Clocks are noisier than a step of a single thread is long.
    stepSeconds: Math.max(1e-7, stepsSeconds / (smallSteps - 1)),
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
  readonly bindings: Readonly<Record<string, Binding>>;
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
    bindings: Object.fromEntries(buffers),
    dispose() {
      executable.dispose();
      weights.dispose();
      for (const [, buffer] of buffers) buffer.dispose();
    },
  };
}

/** Seconds that the device works on a submission: the fastest of several, since others may use the processor too. */
async function fastest(device: Device, graph: Graph, n: number, precision: Precision): Promise<number> {
  const prepared = await prepare(device, graph, n, precision);
  let best = Infinity;
  const end = performance.now() + runMilliseconds;
  // Clocks rise and pages are touched in the first ones.
  for (let run = 0; run < fewestRuns || performance.now() < end; run++) {
    const completion = prepared.executable.submit({ dims: { n }, buffers: prepared.bindings });
    await completion.done;
    const [{ beginMs, endMs } = { beginMs: 0, endMs: 0 }] = completion.times();
    best = Math.min(best, (endMs - beginMs) / 1e3);
  }
  prepared.dispose();
  return best;
}

/** Seconds from the call of `submit` to the resolution of `done` beyond the work, at the median. */
async function submissionSeconds(device: Device, graph: Graph): Promise<number> {
  const prepared = await prepare(device, graph, 1, 'f32');
  const seconds: number[] = [];
  for (let run = 0; run < 65; run++) {
    const begin = performance.now();
    const completion = prepared.executable.submit({ dims: { n: 1 }, buffers: prepared.bindings });
    await completion.done;
    const [{ beginMs, endMs } = { beginMs: 0, endMs: 0 }] = completion.times();
    seconds.push((performance.now() - begin - (endMs - beginMs)) / 1e3);
  }
  prepared.dispose();
  return seconds.sort((a, b) => a - b)[seconds.length >> 1]!;
}
