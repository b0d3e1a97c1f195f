/** Sampling as an executable of its own, whose mask may come after the logits: the same tokens as in one graph. */
import {
  addSampling,
  GraphBuilder,
  referenceBackend,
  sampleControls,
  sampleGraph,
  sampleNames,
  sampleParameters,
  tensorBytes,
  type Binding,
  type Completion,
  type Device,
  type DeviceBuffer,
  type Graph,
  type TensorSpec,
  type Value,
  type WeightSet,
} from '@unicorn-exec/tensor';
import { describe, expect, it } from 'vitest';
import { cpuBackend } from '../src/index.js';

const [rows, hidden, vocabulary, capacity] = [5, 64, 211, 7];
const dims: Readonly<Record<string, number>> = { outputs: rows, biases: 1 };
const options = { history: [rows, capacity], masked: true, topLogProbabilities: 3 } as const;

/** Numbers in [-1, 1], scattered. */
function scattered(count: number): Float32Array {
  return Float32Array.from({ length: count }, (_, i) => Math.sin(12.9898 * (i + 1) ** 2));
}

function eachRow(numbers: (row: number) => readonly number[]): number[] {
  return Array.from({ length: rows }, (_, row) => numbers(row)).flat();
}

const parameters = { temperature: 1, topP: 0.9, minP: 0, typicalP: 1, repetitionPenalty: 1.1 };
const inputs: Readonly<Record<string, Float32Array | Int32Array>> = {
  x: scattered(rows * hidden),
  [sampleNames.parameters]: Float32Array.from(
    eachRow(() =>
      sampleParameters.map((name) => ({ presencePenalty: 0, frequencyPenalty: 0, ...parameters })[name]),
    ),
  ),
  [sampleNames.controls]: Int32Array.from(
    eachRow((row) => {
      const own = { topK: 40, seedLow: 7, seedHigh: row, position: 3, historyRow: rows - 1 - row };
      return sampleControls.map((name) => ({ historyLength: 2, promptLength: 1, ...own })[name]);
    }),
  ),
  [sampleNames.biasIds]: new Int32Array(rows),
  [sampleNames.biasValues]: new Float32Array(rows),
  // Every other token, and others in other rows.
  [sampleNames.mask]: Int32Array.from(eachRow((row) => new Array<number>(7).fill(0x55555555 << (row % 2)))),
};
const results = [
  sampleNames.sampled,
  sampleNames.history,
  sampleNames.chosenLogProbability,
  sampleNames.topIds,
  sampleNames.topLogProbabilities,
];

function headGraph(add: (builder: GraphBuilder, logits: Value) => void): Graph {
  const builder = new GraphBuilder('head');
  const x = builder.input('x', 'f32', ['outputs', hidden]);
  add(builder, builder.matmul(x, builder.weight('head', { dtype: 'f32', shape: [vocabulary, hidden] })));
  return builder.build();
}

/** Buffers by name, made when first asked for: what one graph writes another finds. */
class Buffers {
  readonly #buffers = new Map<string, DeviceBuffer>();

  constructor(private readonly device: Device) {}

  get(name: string, { dtype, shape }: TensorSpec): DeviceBuffer {
    const bytes = tensorBytes(
      dtype,
      shape.map((dim) => (typeof dim === 'number' ? dim : dims[dim]!)),
    );
    const buffer = this.#buffers.get(name) ?? this.device.allocate(bytes);
    this.#buffers.set(name, buffer);
    return buffer;
  }

  async read(name: string): Promise<Uint8Array> {
    const buffer = this.#buffers.get(name)!;
    return this.device.read(buffer, 0, buffer.byteLength);
  }
}

async function submit(
  device: Device,
  graph: Graph,
  weights: WeightSet,
  buffers: Buffers,
  hostInputs = inputs,
): Promise<Completion> {
  const executable = await device.compile(graph, weights, { dims });
  const { signature } = executable;
  const bindings: Record<string, Binding> = {};
  for (const [name, spec] of Object.entries({
    ...signature.inputs,
    ...signature.outputs,
    ...signature.state,
  })) {
    bindings[name] = hostInputs[name] ?? buffers.get(name, spec);
  }
  const own = Object.fromEntries(signature.dims.map((dim) => [dim, dims[dim]!]));
  return executable.submit({ dims: own, buffers: bindings });
}

describe.each([referenceBackend, cpuBackend])('sampling by itself on $name', (backend) => {
  it('gives the tokens, the history and the log-probabilities of one graph', async () => {
    const device = await backend.open();
    const bytes = new Uint8Array(scattered(vocabulary * hidden).buffer);
    const weights = await device.load([
      { name: 'head', dtype: 'f32', shape: [vocabulary, hidden], source: { kind: 'bytes', bytes } },
    ]);
    const together = new Buffers(device);
    await (
      await submit(
        device,
        headGraph((builder, logits) => addSampling(builder, logits, options)),
        weights,
        together,
      )
    ).done;
    const apart = new Buffers(device);
    const first = headGraph((builder, logits) => builder.output(sampleNames.logits, logits));
    await submit(device, first, weights, apart);
    // The step is on its way; the sampling that follows finds its logits in the buffer. It reads no weights.
    const none = await device.load([]);
    await (
      await submit(device, sampleGraph('sample', vocabulary, options), none, apart)
    ).done;
    for (const name of results) expect(await apart.read(name), name).toEqual(await together.read(name));
    const sampled = new Int32Array((await apart.read(sampleNames.sampled)).slice().buffer);
    expect([...sampled].map((id) => id % 2)).toEqual([0, 1, 0, 1, 0]);
    await device.close();
  });
});
