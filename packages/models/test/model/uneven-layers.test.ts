/** A decoder whose layers differ in their heads, windows and in where values come from, as no golden's do. */
import { describe, expect, it } from 'vitest';
import type { TensorSpec, WeightEntry } from '@unicorn-exec/tensor';
import { buildDecoder } from '../../src/decoder/decoder-graph.js';
import {
  checkDecoderConfig,
  kvGroupsOf,
  type DecoderConfig,
  type LayerConfig,
} from '../../src/decoder/decoder-config.js';
import { DecoderStep } from '../../src/decoder/decoder-step.js';
import { decoderWeights } from '../../src/decoder/decoder-weights.js';
import { makeRope } from '../../src/decoder/rope-frequencies.js';
import { StepRunner, type RunnerModel } from './step-runner.js';

const rope = (dims: number) => makeRope({ theta: 10_000, scaling: { type: 'default' } }, dims);

const layers: readonly LayerConfig[] = [
  { attention: 'sliding', feedForward: 12 },
  {
    attention: 'full',
    feedForward: 20,
    heads: 2,
    kvHeads: 1,
    headDim: 16,
    values: 'keyProjection',
    rope: rope(8),
  },
  { attention: 'sliding', feedForward: 12, window: 5 },
  { attention: 'full', feedForward: 12, heads: 6, kvHeads: 3, values: 'keys', attentionScale: 0.25 },
  { attention: 'sliding', feedForward: 16, heads: 8 },
  // Reads what layer 1 stores, by queries of its own number.
  { attention: 'full', feedForward: 8, kvSource: 1, heads: 4, kvHeads: 1, headDim: 16 },
];

const config: DecoderConfig = {
  vocabularySize: 32,
  contextLength: 64,
  hidden: 24,
  heads: 4,
  kvHeads: 2,
  headDim: 8,
  layers,
  window: 3,
  ropes: { full: rope(8), sliding: rope(8) },
  normEpsilon: 1e-6,
  normOffset: 0,
  embeddingScale: 1,
  attentionScale: 8 ** -0.5,
  activation: 'silu',
  queryKeyNorm: true,
  valueNorm: true,
  postNorms: false,
  tiedHead: true,
};

/** Numbers in [-1, 1] over the root of a row, scattered; norms are 1. */
function weightsOf(decoder: DecoderConfig): WeightEntry[] {
  return decoderWeights(decoder)
    .filter(({ optional }) => !optional)
    .map(({ name, shape }, index) => {
      const count = shape.reduce((product, dim) => product * dim, 1);
      const scale = shape.at(-1)! ** -0.5;
      const values = Float32Array.from({ length: count }, (_, i) =>
        shape.length === 1 ? 1 : scale * Math.sin(78.233 * (i + 1 + 1009 * index) ** 1.5),
      );
      return {
        name,
        dtype: 'f32',
        shape,
        source: { kind: 'bytes', bytes: new Uint8Array(values.buffer) },
      };
    });
}

function modelOf(decoder: DecoderConfig): RunnerModel {
  const entries = weightsOf(decoder);
  const specs = new Map(
    entries.map(({ name, dtype, shape }): [string, TensorSpec] => [name, { dtype, shape }]),
  );
  return {
    name: 'uneven',
    kvGroups: kvGroupsOf(decoder),
    weights: () => entries,
    buildStep(builder, options) {
      const logits = buildDecoder(new DecoderStep(builder, decoder, specs, options));
      return logits ? { logits } : {};
    },
  };
}

describe('layers that differ', () => {
  it('share pools where window and shape are the same', () => {
    expect(kvGroupsOf(config)).toEqual([
      { name: 'full.1x16', layers: [1], kvHeads: 1, headDim: 16 },
      { name: 'full.3x8.keys', layers: [3], kvHeads: 3, headDim: 8, valuesAreKeys: true },
      { name: 'sliding.2x8.3', layers: [0, 4], kvHeads: 2, headDim: 8, window: 3 },
      { name: 'sliding.2x8.5', layers: [2], kvHeads: 2, headDim: 8, window: 5 },
    ]);
  });

  it('have weights of their own shapes, and no value projection that nobody reads', () => {
    const shapes = new Map(decoderWeights(config).map(({ name, shape }) => [name, shape]));
    expect(shapes.get('layers.0.attention.query')).toEqual([32, 24]);
    expect(shapes.get('layers.1.attention.query')).toEqual([32, 24]);
    expect(shapes.get('layers.1.attention.key')).toEqual([16, 24]);
    expect(shapes.get('layers.1.attention.keyNorm')).toEqual([16]);
    expect(shapes.get('layers.3.attention.output')).toEqual([24, 48]);
    expect(shapes.get('layers.5.attention.output')).toEqual([24, 64]);
    expect([0, 1, 2, 3].map((layer) => shapes.has(`layers.${layer}.attention.value`))).toEqual([
      true,
      false,
      true,
      false,
    ]);
    checkDecoderConfig(config, 'config.json');
  });

  it('compute the same bits whole, in chunks and in company', async () => {
    const ids = [3, 14, 15, 9, 26, 5, 31, 8, 0, 7, 1, 2, 30, 11, 12, 13, 4, 6, 29];
    const whole = await StepRunner.create(modelOf(config));
    const chunked = await StepRunner.create(modelOf(config));
    const vocabulary = config.vocabularySize;
    const expected = (await whole.step([{ sequence: 0, position: 0, ids }])).logits!;
    const taken: number[] = [];
    for (let position = 0; position < ids.length; position += 4) {
      const part = ids.slice(position, position + 4);
      const { logits } = await chunked.step([
        { sequence: 1, position: position === 0 ? 0 : 1, ids: [position] },
        { sequence: 0, position, ids: part },
      ]);
      taken.push(...logits!.subarray(vocabulary));
    }
    expect(expected.every(Number.isFinite)).toBe(true);
    expect(Float32Array.from(taken)).toEqual(expected);
    await whole.close();
    await chunked.close();
  });

  it.each([
    [{ heads: 3 }, /3 attention heads are not a multiple of 2/],
    [{ headDim: 4 }, /layer 0 has heads of 4 elements, of which 8 turn/],
    [{ kvSource: 1 }, /layer 0 cannot read the keys and values of layer 1/],
  ])('are refused where they do not fit: %o', (change, message) => {
    const changed = { ...config, layers: [{ ...layers[0]!, ...change }, ...layers.slice(1)] };
    expect(() => checkDecoderConfig(changed, 'config.json')).toThrow(message);
  });
});
