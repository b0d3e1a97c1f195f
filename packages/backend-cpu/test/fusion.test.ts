/** Fused plans against the reference evaluator, node by node: whole layers, odd views, every epilogue. */
import { GraphBuilder, referenceBackend, type Device, type Graph, type Value } from '@unicorn-exec/tensor';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { cpuBackend } from '../src/index.js';
import { altUpGraph, decoderGraph } from './graphs.js';
import { randomSource, randomWeights, relativeError, runGraph, type Trial } from './fixture.js';

let devices: Device[];
let reference: Device;

beforeAll(async () => {
  devices = [await cpuBackend.open('cpu', { threads: 1 }), await cpuBackend.open('cpu', { threads: 3 })];
  reference = await referenceBackend.open();
});

afterAll(async () => {
  for (const device of [...devices, reference]) await device.close();
});

/**
 * f32 against f64 sums: a few dozen roundings of 2^-24 along a layer, each grown by at most the condition of a short sum.
 */
const f32Tolerance = 2e-5;
/** int8 activations: half a step of max/127 each, averaged over sums of dozens, through a few products in a row. */
const int8Tolerance = 0.1;

async function compare(trial: Trial): Promise<void> {
  const expected = await runGraph(reference, trial);
  const [alone, together] = await Promise.all(devices.map((device) => runGraph(device, trial)));
  for (const [name, values] of Object.entries(expected)) {
    expect(together![name], `${name} with three threads`).toEqual(alone![name]);
    const tolerance = trial.precision === 'fast' ? int8Tolerance : f32Tolerance;
    if (values instanceof Int32Array) {
      if (trial.precision !== 'fast') expect(alone![name]).toEqual(values);
    } else {
      expect(relativeError(alone![name]!, values), name).toBeLessThan(tolerance);
    }
  }
}

/** Two sequences: five tokens, and one token at position 3 whose earlier keys are zeros. */
function decoderTrial(graph: Graph, precision: 'f32' | 'fast'): Trial {
  return {
    graph,
    precision,
    weights: randomWeights(graph, randomSource(7)),
    dims: { tokens: 6, sequences: 2, columns: 1, outputs: 2, pool: 3, historyRows: 2, capacity: 8 },
    inputs: {
      ids: Int32Array.of(3, 14, 15, 9, 2, 65),
      positions: Int32Array.of(0, 1, 2, 3, 4, 3),
      slots: Int32Array.of(16, 17, 18, 19, 20, 35),
      starts: Int32Array.of(0, 5),
      blocks: Int32Array.of(1, 2),
      rows: Int32Array.of(4, 5),
      parameters: Float32Array.of(0, 1, 0, 1, 1, 0, 0, 0, 1, 0, 1, 1, 0, 0),
      controls: Int32Array.of(0, 1, 2, 5, 0, 0, 0, 0, 1, 2, 4, 1, 0, 0),
      biasIds: new Int32Array(2),
      biasValues: new Float32Array(2),
    },
  };
}

describe('layers', () => {
  for (const precision of ['f32', 'fast'] as const) {
    for (const dtype of ['f32', 'bf16', 'q8_0', 'q4_0', 'q4_1'] as const) {
      it(`Llama, ${dtype} weights, ${precision}`, () =>
        compare(decoderTrial(decoderGraph(dtype), precision)));
      it(`norms everywhere, ${dtype} weights, ${precision}`, () =>
        compare(decoderTrial(decoderGraph(dtype, { norms: true }), precision)));
    }
    for (const dtype of ['f32', 'q8_0'] as const) {
      for (const tokens of [1, 7]) {
        it(`AltUp, ${dtype} weights, ${tokens} tokens, ${precision}`, async () => {
          const random = randomSource(11);
          const graph = altUpGraph(dtype);
          const floats = (count: number): Float32Array =>
            Float32Array.from({ length: count }, () => random() * 2 - 1);
          await compare({
            graph,
            precision,
            weights: randomWeights(graph, random),
            dims: { tokens },
            inputs: { x: floats(tokens * 64), perLayer: floats(tokens * 64) },
          });
        });
      }
    }
  }
});

describe('products', () => {
  const spec = (dtype: 'q8_0' | 'f16') => ({ dtype, shape: [83, 96] }) as const;

  async function check(
    build: (b: GraphBuilder, x: Value, weight: (name: string, rowStart?: number) => Value) => Value,
    dtype: 'q8_0' | 'f16' = 'q8_0',
    columnStart = 0,
  ): Promise<void> {
    for (const tokens of [1, 2, 37]) {
      for (const precision of ['f32', 'fast'] as const) {
        const b = new GraphBuilder('product');
        const x = b.input('x', 'f32', ['tokens', 64 - (columnStart ? 32 : 0)]);
        const columns = x.shape[1] as number;
        const weight = (name: string, rowStart = 0): Value =>
          b.weight(name, spec(dtype), { rowStart, rows: 51, columnStart, columns });
        b.output('y', build(b, x, weight));
        const random = randomSource(tokens);
        const graph = b.build();
        const floats = (count: number): Float32Array =>
          Float32Array.from({ length: count }, () => random() * 2 - 1);
        const inputs: Record<string, Float32Array> = { x: floats(tokens * columns) };
        if (graph.values.some(({ source }) => source.kind === 'input' && source.name === 'r')) {
          inputs.r = floats(tokens * 51);
        }
        await compare({ graph, precision, weights: randomWeights(graph, random), dims: { tokens }, inputs });
      }
    }
  }

  const residual = (b: GraphBuilder): Value => b.input('r', 'f32', ['tokens', 51]);
  const bias = (b: GraphBuilder): Value => b.weight('bias', { dtype: 'bf16', shape: [51] });

  it('with bias and residual', () =>
    check((b, x, weight) => b.add(b.add(b.matmul(x, weight('w')), bias(b)), residual(b))));

  it('of rows that begin inside a group', () => check((b, x, weight) => b.matmul(x, weight('w', 5))));

  it('of rows that begin inside a group, with bias and residual', () =>
    check((b, x, weight) => b.add(b.add(b.matmul(x, weight('w', 19)), bias(b)), residual(b))));

  it('of rows and columns inside a weight', () =>
    check((b, x, weight) => b.matmul(x, weight('w', 32)), 'q8_0', 32));

  it('of an unpacked weight', () => check((b, x, weight) => b.matmul(x, weight('w', 7)), 'f16'));

  it('of an unpacked weight after a norm', () =>
    check((b, x, weight) => b.matmul(b.rmsNorm(x, undefined, { epsilon: 1e-6 }), weight('w')), 'f16'));

  it('in a gated unit', () =>
    check((b, x, weight) => b.glu(b.matmul(x, weight('gate')), b.matmul(x, weight('up')), 'silu')));

  it('in a gated unit of parts that do not begin alike', () =>
    check((b, x, weight) =>
      b.glu(b.matmul(x, weight('gate', 16)), b.matmul(x, weight('up', 3)), 'geluTanh'),
    ));

  it('gating another value, capped and scaled', () =>
    check((b, x, weight) => b.scale(b.softcap(b.glu(b.matmul(x, weight('w')), residual(b), 'silu'), 2), 3)));

  it('with an activation, of several axes', async () => {
    const b = new GraphBuilder('axes');
    const x = b.input('x', 'f32', [2, 'tokens', 3, 32]);
    b.output('y', b.activation(b.matmul(x, b.weight('w', { dtype: 'q8_0', shape: [20, 32] })), 'tanh'));
    const graph = b.build();
    const random = randomSource(3);
    const inputs = { x: Float32Array.from({ length: 2 * 5 * 3 * 32 }, () => random() - 0.5) };
    await compare({ graph, weights: randomWeights(graph, random), dims: { tokens: 5 }, inputs });
  });

  it('with a bias that is a slice of a stored one', () =>
    check((b, x, weight) => {
      const stored = b.weight('bias', { dtype: 'f16', shape: [60] });
      return b.add(b.matmul(x, weight('w')), b.slice(stored, 0, 9, 51));
    }));
});
