/** Random weights and inputs, and one way to run a graph on any backend. */
import {
  dtypeLayout,
  elementCount,
  floatToHalf,
  namedValues,
  resolveShape,
  tensorBytes,
  type Device,
  type DType,
  type Graph,
  type WeightEntry,
} from '@unicorn-exec/tensor';

/** Park and Miller 1988: enough for test data, the same everywhere. */
export function randomSource(seed: number): () => number {
  let state = seed % 2147483647 || 1;
  return () => {
    state = (state * 48271) % 2147483647;
    return state / 2147483647;
  };
}

/** Block formats whose quants times their small scales reach far; those with an f16 minimum behind the scale. */
const largeQuants = new Set<DType>(['q8_0', 'iq4_nl', 'iq4_xs', 'q4_k', 'q5_k', 'q6_k']);
const minimums = new Set<DType>(['q4_1', 'q5_1', 'q4_k', 'q5_k']);

/** Bytes of a weight with elements of about `scale`: random blocks with sane scales, or random numbers. */
export function randomBytes(dtype: DType, elements: number, random: () => number, scale = 0.1): Uint8Array {
  const { blockSize, blockBytes } = dtypeLayout(dtype);
  if (dtype === 'f32') {
    return new Uint8Array(Float32Array.from({ length: elements }, () => (random() * 2 - 1) * scale).buffer);
  }
  const bytes = Uint8Array.from({ length: (elements / blockSize) * blockBytes }, () => random() * 256);
  const view = new DataView(bytes.buffer);
  for (let at = 0; at < bytes.byteLength; at += blockBytes) {
    if (dtype === 'bf16') view.setUint16(at, (random() < 0.5 ? 0x8000 : 0) | (0x3d00 + random() * 128), true);
    else if (dtype === 'f16') view.setUint16(at, floatToHalf((random() * 2 - 1) * scale), true);
    else {
      const scaleAt = dtype === 'q6_k' ? 208 : 0;
      const size = largeQuants.has(dtype) ? 127 : 8;
      view.setUint16(at + scaleAt, floatToHalf((scale / size) * (0.5 + random())), true);
    }
    if (minimums.has(dtype)) view.setUint16(at + 2, floatToHalf(-scale * random()), true);
  }
  return bytes;
}

/** Every weight of a graph. */
export function randomWeights(graph: Graph, random: () => number): WeightEntry[] {
  return [...namedValues(graph, 'weight')].map(([name, [value]]) => {
    const { source } = value!;
    const { dtype, shape } = source.kind === 'weight' ? source.stored : value!;
    const concrete = shape as readonly number[];
    const bytes = randomBytes(dtype, elementCount(concrete), random);
    return { name, dtype, shape: concrete, source: { kind: 'bytes', bytes } };
  });
}

export interface Trial {
  readonly graph: Graph;
  readonly weights: readonly WeightEntry[];
  readonly dims: Readonly<Record<string, number>>;
  readonly inputs: Readonly<Record<string, Float32Array | Int32Array>>;
  readonly precision?: 'f32' | 'fast';
}

/** The outputs of one submission, as f32 or i32 by dtype; states begin at zero. */
export async function runGraph(
  device: Device,
  { graph, weights, dims, inputs, precision = 'f32' }: Trial,
): Promise<Record<string, Float32Array | Int32Array>> {
  const set = await device.load(weights);
  const ranges = Object.fromEntries(Object.entries(dims).map(([name, max]) => [name, { max }]));
  const executable = await device.compile(graph, set, { dims: ranges, precision });
  const { outputs, state } = executable.signature;
  const buffers = Object.fromEntries(
    Object.entries({ ...outputs, ...state }).map(([name, { dtype, shape }]) => [
      name,
      device.allocate(tensorBytes(dtype, resolveShape(shape, dims))),
    ]),
  );
  const used = Object.fromEntries(executable.signature.dims.map((dim) => [dim, dims[dim]!]));
  await executable.submit({ dims: used, buffers: { ...inputs, ...buffers } }).done;
  const results: Record<string, Float32Array | Int32Array> = {};
  for (const [name, { dtype }] of Object.entries(outputs)) {
    const bytes = await device.read(buffers[name]!, 0, buffers[name]!.byteLength);
    results[name] = dtype === 'i32' ? new Int32Array(bytes.buffer) : new Float32Array(bytes.buffer);
  }
  for (const buffer of Object.values(buffers)) buffer.dispose();
  executable.dispose();
  set.dispose();
  return results;
}

/** Largest |a - b| over the root mean square of b. */
export function relativeError(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  let worst = 0;
  let squares = 0;
  for (let i = 0; i < expected.length; i++) {
    worst = Math.max(worst, Math.abs(actual[i]! - expected[i]!));
    squares += expected[i]! ** 2;
  }
  return worst / Math.sqrt(squares / expected.length || 1);
}
