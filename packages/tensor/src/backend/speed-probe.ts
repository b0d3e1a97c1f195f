/**
 * What the rates of a device are measured with: graphs of products over weights and inputs of zeros, since a product takes
 * the same time whatever its numbers are. Each backend times them in its own way.
 */
import { tensorBytes } from '../dtype.js';
import { GraphBuilder } from '../graph/builder.js';
import type { Graph } from '../graph/graph.js';
import type { Device } from './backend.js';
import type { DeviceBuffer } from './buffer.js';
import type { Bindings, CompileOptions, Executable } from './executable.js';
import type { WeightEntry } from './weights.js';

/** `count` matrices of q4_0 `[outputs, columns]` times the same f32 x `[n, columns]`. */
export function productsGraph(count: number, outputs: number, columns: number): Graph {
  const builder = new GraphBuilder('products');
  const x = builder.input('x', 'f32', ['n', columns]);
  for (let i = 0; i < count; i++) {
    const weight = builder.weight(`w${i}`, { dtype: 'q4_0', shape: [outputs, columns] });
    builder.output(`y${i}`, builder.matmul(x, weight));
  }
  return builder.build();
}

/** `count` products of f32 x `[n, columns]` by one matrix f32 `[columns, columns]`, each of the result of the one before. */
export function productChain(count: number, columns: number): Graph {
  const builder = new GraphBuilder('product chain');
  let x = builder.input('x', 'f32', ['n', columns]);
  const weight = builder.weight('w', { dtype: 'f32', shape: [columns, columns] });
  for (let i = 0; i < count; i++) x = builder.matmul(x, weight);
  builder.output('y', x);
  return builder.build();
}

/** A compiled graph with something bound to every name. */
export interface SpeedProbe {
  readonly executable: Executable;
  readonly bindings: Bindings;
  /** Frees the executable, its weights and its buffers. */
  dispose(): void;
}

/**
 * Compiles one of these graphs for `n` rows.
 *
 * @throws UnicornError `resource/memory`, after everything that was allocated has been freed
 */
export async function prepareProbe(
  device: Device,
  graph: Graph,
  n: number,
  options: Omit<CompileOptions, 'dims'>,
): Promise<SpeedProbe> {
  const made: { dispose(): void }[] = [];
  const dispose = (): void => {
    for (const one of made.splice(0)) one.dispose();
  };
  try {
    const weights = await device.load(zeroWeights(graph));
    made.unshift(weights);
    const executable = await device.compile(graph, weights, { ...options, dims: { n } });
    made.unshift(executable);
    const buffers: Record<string, DeviceBuffer> = {};
    const { inputs, outputs } = executable.signature;
    for (const [name, { dtype, shape }] of Object.entries({ ...inputs, ...outputs })) {
      const concrete = shape.map((dim) => (dim === 'n' ? n : Number(dim)));
      made.push((buffers[name] = device.allocate(tensorBytes(dtype, concrete))));
    }
    return { executable, bindings: { dims: { n }, buffers }, dispose };
  } catch (error) {
    dispose();
    throw error;
  }
}

/** Weights of zeros for a graph; those of equal size share their bytes. */
function zeroWeights(graph: Graph): WeightEntry[] {
  const zeros = new Map<number, Uint8Array>();
  const specs = new Map(
    graph.values.flatMap(({ source }) => (source.kind === 'weight' ? [[source.name, source.stored]] : [])),
  );
  return [...specs].map(([name, { dtype, shape }]) => {
    const byteLength = tensorBytes(dtype, shape as readonly number[]);
    const bytes = zeros.get(byteLength) ?? new Uint8Array(byteLength);
    zeros.set(byteLength, bytes);
    return { name, dtype, shape: shape as readonly number[], source: { kind: 'bytes', bytes } };
  });
}
