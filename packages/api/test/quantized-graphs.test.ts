/**
 * Quantized weights through the whole graph: the KL divergence from the unquantized model stays below what rounding to
 * the format's steps explains, at every size of error, on every backend.
 *
 * Weights. A rounded number is off by up to half a step. Where numbers spread over several steps, that error is evenly
 * distributed and has nothing to do with them (Widrow, Kollár: "Quantization Noise"; of normal numbers whose deviation
 * is three steps, as it is here in four bits, but for exp(-2 pi^2 3^2)). So the quantized model is one of many: of those
 * whose weights differ from the original's by such noise. Of some of them the KL is measured here, in f32, from the
 * unquantized weights and the definition of the format: no encoder, no decoder and no kernel of blocks has a part in it.
 * Nothing is expanded: the bound holds where errors are as large as the logits, as they are in four bits of weights that
 * nobody has trained.
 *
 * The logarithm of such a KL, a positive sum of many terms, is close to normal. Of a normal quantity, one draw more than
 * the m that are known exceeds their mean, with a probability of 1 - a, by no more than t s sqrt(1 + 1/m), with their
 * deviation s and the a-quantile t of Student's distribution of m - 1 degrees of freedom (the prediction interval):
 *
 *     KL <= W = exp(mean(log KL_i) + t s sqrt(1 + 1/m))
 *
 * It means something: it must be below the KL that noise of two steps makes, which is a format of one bit less.
 *
 * Activations. The fast path rounds what products and attentions read to int8 in blocks of 32. The step is
 * max|x| / 127, about 2.3 / 127 deviations of 32 normal numbers, and a uniform error has the power step^2 / 12:
 * e = 2.7e-5. Errors of n roundings add up to n e at the logits, if what lies between neither damps nor amplifies them:
 * norms and the residual stream do the first, softmax, gates and tanh both. Ten times that is allowed for the second,
 * as the conformance suite allows it for chains of ops. n counts, in the graph, the different values that quantized
 * products read, and the attentions. Logits of variance v are then off by d of variance 10 n e v. With q without and f
 * with that rounding, log q - log f = d + log E_q exp(-d), where d is normal as a sum of very many errors, and where by
 * Jensen the mean of the logarithm is no more than the logarithm of the mean, which is Var(d) / 2, at any size of d:
 *
 *     KL(q, f) <= A = 10 n e v / 2
 *
 * Both. With p of the original, KL(p, f) = KL(p, q) + KL(q, f) + sum (p - q) d. The last has the deviation
 * sqrt(Var(d)) |p - q|, and |p - q| <= sqrt(2 KL(p, q)), which is Pinsker's inequality: sqrt(2 A) sqrt(2 W) together, of
 * means over positions as well (Cauchy, Schwarz). With the quantile z of the normal distribution:
 *
 *     KL(p, f) <= W + A + 2 z sqrt(W A)
 *
 * What the bounds notice: of eight bits, a row of one matrix that is lost; of four, no less than half a matrix, since
 * that is the noise they make themselves. Backends are therefore held to each other, too: two that multiply by the same
 * weights in f32 have logits within a tolerance g, and KL <= (2 g)^2 / 8 (Hoeffding's lemma).
 */
import { copyFile, mkdtemp, open, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { architectures, ConfigFields, modelToGguf, openModel } from '@unicorn-exec/models';
import { openGguf, writeGguf, writeSafetensors } from '@unicorn-exec/checkpoint';
import { encodeTensor } from '@unicorn-exec/quant';
import { dtypeLayout, GraphBuilder, isBlockDType, type Backend, type DType } from '@unicorn-exec/tensor';
import { Engine } from '../src/index.js';
import { evaluate } from '../src/measure/index.js';
import { meanDivergence, meanOf, meanVariance, varianceOf } from './divergence.js';
import { uniformNumbers, unrounded, withRoundingNoise } from './rounding-noise.js';
import { goldenModels } from './golden-model.js';
import { backends } from './shared.js';

const drawCount = 12;
/** Of Student's distribution with 11 degrees of freedom, one-sided: one of a thousand lies beyond. */
const studentQuantile = 4.025;
/** Of the normal distribution, likewise. */
const normalQuantile = 3.09;
/** Of the noise of two steps: for a mean, not for an interval. */
const coarseDrawCount = 3;
const amplification = 10;
const int8Power = 2.7e-5;
/** Of logits in f32, whatever the order of sums: the loosest of the goldens' rules. */
const floatTolerance = 5e-3;
const preparationMs = 120_000;

const reference = backends.find(({ name }) => name === 'reference')!;
const cpu = backends.find(({ name }) => name === 'cpu')!;
/** For unquantized models in f32, where the goldens hold all to the same. */
const fastest = [cpu, reference].find(({ usable }) => usable)!;

let scratch: string;
beforeAll(async () => (scratch = await mkdtemp(join(tmpdir(), 'unicorn-quantized-'))));
afterAll(() => rm(scratch, { recursive: true }));

interface Checkpoint {
  readonly path: string;
  readonly ids: readonly number[];
}

describe('golden checkpoints', () => {
  for (const golden of goldenModels) {
    describe.skipIf(!golden.isThere)(golden.name, () => {
      const checkpoint = async (): Promise<Checkpoint> => ({
        path: golden.path,
        ids: [...(await golden.read('a.input_ids'))],
      });
      for (const dtype of ['q4_0', 'q8_0'] as const) describeQuantized(dtype, checkpoint);
    });
  }
});

describe('a checkpoint of 256 features, two super-blocks of feed-forward', () => {
  const common = {
    vocab_size: 512,
    hidden_size: 256,
    intermediate_size: 512,
    num_hidden_layers: 4,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    head_dim: 64,
    max_position_embeddings: 256,
    rms_norm_eps: 1e-6,
    rope_theta: 10_000,
    tie_word_embeddings: true,
  };
  const configurations = [
    { ...common, model_type: 'qwen3', hidden_act: 'silu' },
    {
      ...common,
      model_type: 'gemma3n_text',
      hidden_activation: 'gelu_pytorch_tanh',
      sliding_window: 16,
      num_kv_shared_layers: 2,
      layer_types: ['sliding', 'full', 'sliding', 'full'].map((kind) => `${kind}_attention`),
      activation_sparsity_pattern: [0.95, 0, 0, 0],
      altup_num_inputs: 4,
      laurel_rank: 64,
      hidden_size_per_layer_input: 256,
      vocab_size_per_layer_input: 512,
    },
  ];
  const ids = Array.from({ length: 24 }, (_, i) => (i * 167 + 11) % 512);
  for (const config of configurations) {
    describe(`of ${config.model_type}`, () => {
      let path: string;
      beforeAll(async () => {
        path = await mkdtemp(join(scratch, 'checkpoint-'));
        await writeRandomCheckpoint(path, config);
      }, preparationMs);
      for (const dtype of ['q4_k', 'q6_k'] as const) {
        describeQuantized(dtype, () => Promise.resolve({ path, ids }));
      }
    });
  }
});

function describeQuantized(dtype: DType, checkpoint: () => Promise<Checkpoint>): void {
  describe(`in ${dtype}`, () => {
    let quantized: Quantized;
    beforeAll(async () => (quantized = await quantize(await checkpoint(), dtype)), preparationMs);

    it('has a bound below what one bit less costs', () => {
      expect(quantized.weightBound).toBeLessThan(quantized.coarseDivergence);
    });

    it('keeps to it on reference', async ({ annotate }) => {
      const { path, exact, ids, weightBound, coarseDivergence } = quantized;
      const logits = await logitsOf(reference.backend, 'f32', path, ids);
      const divergence = meanDivergence(exact, logits, exact.length / ids.length);
      const [share, room] = [divergence / weightBound, weightBound / coarseDivergence].map(percent);
      await annotate(
        `KL ${divergence.toPrecision(2)} is ${share} of the bound, which is ${room} of one bit less`,
      );
      expect(divergence).toBeLessThan(weightBound);
    });

    it.skipIf(!cpu.usable)('keeps to it on cpu, and multiplies by the same weights', async () => {
      const { path, exact, ids, weightBound } = quantized;
      const width = exact.length / ids.length;
      const logits = await logitsOf(cpu.backend, 'f32', path, ids);
      expect(meanDivergence(exact, logits, width)).toBeLessThan(weightBound);
      const plain = await logitsOf(reference.backend, 'f32', path, ids);
      expect(meanDivergence(plain, logits, width)).toBeLessThan((2 * floatTolerance) ** 2 / 8);
    });

    it.skipIf(!cpu.usable)('keeps to it and activations to theirs on cpu, fast', async () => {
      const { path, ids, exact, weightBound, activationBound } = quantized;
      const width = exact.length / ids.length;
      const precise = await logitsOf(cpu.backend, 'f32', path, ids);
      const fast = await logitsOf(cpu.backend, 'fast', path, ids);
      expect(meanDivergence(precise, fast, width)).toBeLessThan(activationBound);
      // The fast path is there at all.
      expect(meanDivergence(precise, fast, width)).toBeGreaterThan(1e-6);
      const together = 2 * normalQuantile * Math.sqrt(weightBound * activationBound);
      expect(meanDivergence(exact, fast, width)).toBeLessThan(weightBound + activationBound + together);
    });
  });
}

interface Quantized {
  readonly path: string;
  readonly ids: readonly number[];
  /** Logits of the original. */
  readonly exact: Float32Array;
  readonly weightBound: number;
  readonly activationBound: number;
  /** Of noise of two steps. */
  readonly coarseDivergence: number;
}

async function quantize({ path: original, ids }: Checkpoint, dtype: DType): Promise<Quantized> {
  const folder = await mkdtemp(join(scratch, 'quantized-'));
  const [path, plain, noisy] = ['quantized', 'plain', 'noisy'].map((name) => join(folder, `${name}.gguf`));
  const dtypeOf = ({ shape }: { readonly shape: readonly number[] }): DType => blockType(dtype, shape);
  const source = await openModel(original);
  await writeGguf(path!, modelToGguf(source, { dtypeOf, encode: encodeTensor }));
  await writeGguf(plain!, modelToGguf(source));
  await source.close();

  const exact = await logitsOf(fastest.backend, 'f32', original, ids);
  const width = exact.length / ids.length;
  const rewrite = await noiseWriter(plain!, noisy!, dtypeOf);
  const drawLogDivergence = async (seed: number, scale: number): Promise<number> => {
    await rewrite(uniformNumbers(seed), scale);
    return Math.log(meanDivergence(exact, await logitsOf(fastest.backend, 'f32', noisy!, ids), width));
  };
  const draws: number[] = [];
  for (let seed = 1; seed <= drawCount; seed++) draws.push(await drawLogDivergence(seed, 1));
  const coarse: number[] = [];
  for (let seed = 1; seed <= coarseDrawCount; seed++) coarse.push(await drawLogDivergence(seed, 2));
  for (const file of [plain!, noisy!]) await rm(file);
  return {
    path: path!,
    ids,
    exact,
    weightBound: Math.exp(predictionLimit(draws)),
    activationBound:
      (amplification * (await countRoundings(path!)) * int8Power * meanVariance(exact, width)) / 2,
    coarseDivergence: Math.exp(meanOf(coarse)),
  };
}

const percent = (share: number): string => `${(100 * share).toFixed(0)} %`;

/** What one draw more stays below. */
function predictionLimit(draws: readonly number[]): number {
  const count = draws.length;
  const deviation = Math.sqrt((varianceOf(draws) * count) / (count - 1));
  return meanOf(draws) + studentQuantile * deviation * Math.sqrt(1 + 1 / count);
}

/**
 * Makes `noisy` of the f32 file `plain`, where what is called is to write noise over all tensors of block types, over and
 * over.
 */
async function noiseWriter(
  plain: string,
  noisy: string,
  dtypeOf: (tensor: { readonly shape: readonly number[] }) => DType,
): Promise<(uniform: () => number, scale: number) => Promise<void>> {
  await copyFile(plain, noisy);
  const source = await openGguf(plain);
  const tensors = await Promise.all(
    source.tensors
      .filter((tensor) => isBlockDType(dtypeOf(tensor)))
      .map(async (tensor) => ({
        offset: tensor.offset,
        weights: unrounded(dtypeOf(tensor), await source.decodeTensor(tensor.name)),
      })),
  );
  await source.close();
  return async (uniform, scale) => {
    const file = await open(noisy, 'r+');
    for (const { offset, weights } of tensors) {
      const bytes = new Uint8Array(withRoundingNoise(weights, uniform, scale).buffer);
      await file.write(bytes, 0, bytes.length, offset);
    }
    await file.close();
  };
}

/** What a quantizer does: vectors and small matrices stay as they are, rows that no block divides take smaller ones. */
function blockType(dtype: DType, shape: readonly number[]): DType {
  if (shape.length === 1 || shape.at(-2)! < 32) return 'f32';
  const fits = (candidate: DType): boolean => shape.at(-1)! % dtypeLayout(candidate).blockSize === 0;
  return [dtype, 'q8_0' as const].find(fits) ?? 'f32';
}

/** How often the fast path rounds activations in a step. */
async function countRoundings(path: string): Promise<number> {
  const model = await openModel(path);
  const builder = new GraphBuilder('step');
  model.buildStep(builder, { kvDType: 'f16', blockTokens: 16, logits: 'all' });
  await model.close();
  const { nodes, values } = builder.build();
  const products = nodes.filter(
    ({ op, inputs }) =>
      op === 'matmul' && Object.values(inputs).some((id) => isBlockDType(values[id]!.dtype)),
  );
  const attentions = nodes.filter(({ op }) => op === 'attention');
  return new Set(products.map(({ inputs }) => inputs['x'])).size + attentions.length;
}

async function logitsOf(
  backend: Backend,
  precision: 'f32' | 'fast',
  model: string,
  ids: readonly number[],
): Promise<Float32Array> {
  const kvType = precision === 'f32' ? 'f32' : 'f16';
  const engine = await Engine.load({ model, backend, precision, kvType, context: 256 });
  const [result] = await evaluate(engine, [ids]);
  await engine.close();
  return result!.get('logits')!.data;
}

/** A Hugging Face directory with random weights, at the magnitudes of the golden checkpoints. */
async function writeRandomCheckpoint(folder: string, config: { model_type: string }): Promise<void> {
  const architecture = architectures.find(({ huggingFaceTypes }) =>
    huggingFaceTypes.includes(config.model_type),
  )!;
  const { weights } = architecture.fromHuggingFace(ConfigFields.fromJson('config.json', config));
  await writeFile(join(folder, 'config.json'), JSON.stringify(config));
  const normal = normalNumbers(7);
  const tensors = weights
    .filter(({ optional }) => !optional)
    .map(({ name, shape, huggingFace }) => {
      // Tied embeddings of this size give logits of a variance of ten; products elsewhere keep their input's magnitude.
      const deviation = shape.length === 1 ? 0.1 : /embed$/.test(name) ? 0.2 : shape.at(-1)! ** -0.5;
      const mean = /[nN]orm$|Scale$/.test(name) ? 1 : 0;
      const values = new Float32Array(shape.reduce((product, dim) => product * dim, 1));
      for (let i = 0; i < values.length; i++) values[i] = mean + deviation * normal();
      return {
        name: `model.${huggingFace}`,
        dtype: 'f32' as const,
        shape,
        data: new Uint8Array(values.buffer),
      };
    });
  await writeSafetensors(join(folder, 'model.safetensors'), tensors);
}

/** By Box and Muller. */
function normalNumbers(seed: number): () => number {
  const next = uniformNumbers(seed);
  return () => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next());
}
