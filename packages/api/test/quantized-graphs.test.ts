/**
 * Quantized weights through the whole graph: the KL divergence that rounding adds stays below what rounding explains.
 *
 * The bound. A product `W x` whose factor was rounded is off by an error of relative power e, which its other factor
 * does not change on average. Errors of n products that were rounded independently add up to n e at the logits, if what
 * lies between neither damps nor amplifies them: norms and the residual stream do the first, softmax, gates and tanh
 * both. Ten times that is allowed for the second, as the conformance suite allows it for chains of ops. Logits of
 * variance v are then off by d with a variance of 10 n e v, and to second order KL = Var(d) / 2 under the softmax:
 *
 *     mean KL <= 10 n e v / 2
 *
 * - The fast path rounds activations and queries to int8 in blocks of 32. The step is max|x| / 127, about 2.3 / 127
 *   deviations of 32 normal numbers, and a uniform error has the power step^2 / 12: e = 2.7e-5. n counts the different
 *   values that quantized products read, and the attentions.
 * - Encoding rounds weights. e is the distortion of the tensors as measured here, n the number of products. Six and
 *   eight bits are held to it. Four bits are not: of weights that nothing has trained they leave little, so there only
 *   the fast path is compared.
 *
 * Both count from the graph, so a graph that rounds more often may be off by more. A lost block or a row taken from
 * elsewhere has an error of the power of the value itself, 1 instead of 1e-5, and is seen.
 */
import { mkdtemp, mkdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { architectures, ConfigFields, modelToGguf, openModel, type Model } from '@unicorn-exec/models';
import { encodingDistortion, openGguf, writeGguf, writeSafetensors } from '@unicorn-exec/quant';
import { dtypeLayout, GraphBuilder, isBlockDType, type DType } from '@unicorn-exec/tensor';
import { Engine, evaluate } from '../src/index.js';
import { backends, hasShared, openGolden, sharedPath } from './shared.js';

const amplification = 10;
const int8Power = 2.7e-5;
/** Errors of 3 percent: above, tens of products add up to errors as large as the logits, and no order is second. */
const smallPower = 1e-3;

const cpu = backends.find(({ name }) => name === 'cpu')!;

let scratch: string;
beforeAll(async () => (scratch = await mkdtemp(join(tmpdir(), 'unicorn-quantized-'))));
afterAll(() => rm(scratch, { recursive: true }));

describe.skipIf(!cpu.usable)('golden checkpoints', () => {
  for (const folder of ['llama', 'llama3-rope', 'qwen2', 'qwen3', 'gemma2', 'gemma3-text', 'gemma3n-text']) {
    const root = `goldens/models/${folder}`;
    describe.skipIf(!hasShared(root))(folder, () => {
      it.each(['q4_0', 'q8_0'] as const)('in %s', async (dtype) => {
        const golden = await openGolden(`${root}/io.safetensors`);
        await checkQuantized(sharedPath(root), dtype, [...(await golden('a.input_ids'))]);
      });
    });
  }
});

describe.skipIf(!cpu.usable)('a checkpoint of 256 features, two super-blocks of feed-forward', () => {
  const common = {
    vocab_size: 512,
    hidden_size: 256,
    intermediate_size: 512,
    num_hidden_layers: 5,
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
      sliding_window: 24,
      num_kv_shared_layers: 2,
      layer_types: ['sliding', 'full', 'sliding', 'full', 'sliding'].map((kind) => `${kind}_attention`),
      activation_sparsity_pattern: [0.95, 0, 0, 0, 0],
      altup_num_inputs: 4,
      laurel_rank: 64,
      hidden_size_per_layer_input: 256,
      vocab_size_per_layer_input: 512,
    },
  ];
  const ids = Array.from({ length: 48 }, (_, i) => (i * 167 + 11) % 512);
  for (const config of configurations) {
    it.each(['q4_k', 'q6_k'] as const)(`of ${config.model_type} in %s`, async (dtype) => {
      const folder = join(scratch, `${config.model_type}-${dtype}`);
      await writeRandomCheckpoint(folder, config);
      await checkQuantized(folder, dtype, ids);
    });
  }
});

async function checkQuantized(original: string, dtype: DType, ids: readonly number[]): Promise<void> {
  const path = join(scratch, `${dtype}.gguf`);
  const source = await openModel(original);
  await writeGguf(path, modelToGguf(source, { dtypeOf: ({ shape }) => blockType(dtype, shape) }));
  const model = await openModel(path);
  const counts = countRoundings(model);
  const weightPower = await measureDistortion(source, path);
  for (const opened of [source, model]) await opened.close();

  const exact = await logitsOf(original, 'f32', ids);
  const quantized = await logitsOf(path, 'f32', ids);
  const fast = await logitsOf(path, 'fast', ids);
  const width = exact.length / ids.length;
  const bound = (roundings: number, power: number): number =>
    (amplification * roundings * power * rowVariance(exact, width)) / 2;
  expect(meanDivergence(quantized, fast, width)).toBeLessThan(bound(counts.activations, int8Power));
  if (weightPower < smallPower) {
    expect(meanDivergence(exact, quantized, width)).toBeLessThan(bound(counts.products, weightPower));
  }
  // The fast path is there at all.
  expect(meanDivergence(quantized, fast, width)).toBeGreaterThan(1e-6);
}

/** What a quantizer does: vectors and small matrices stay as they are, rows that no block divides take smaller ones. */
function blockType(dtype: DType, shape: readonly number[]): DType {
  if (shape.length === 1 || shape.at(-2)! < 32) return 'f32';
  const fits = (candidate: DType): boolean => shape.at(-1)! % dtypeLayout(candidate).blockSize === 0;
  return [dtype, 'q8_0' as const].find(fits) ?? 'f32';
}

/** How often a step over the graph rounds activations, and how many products have rounded weights. */
function countRoundings(model: Model): { activations: number; products: number } {
  const builder = new GraphBuilder('step');
  model.buildStep(builder, { kvDType: 'f16', blockTokens: 16, logits: 'all' });
  const { nodes, values } = builder.build();
  const products = nodes.filter(
    ({ op, inputs }) =>
      op === 'matmul' && Object.values(inputs).some((id) => isBlockDType(values[id]!.dtype)),
  );
  const activations = new Set(products.map(({ inputs }) => inputs['x']));
  const attentions = nodes.filter(({ op }) => op === 'attention');
  return { activations: activations.size + attentions.length, products: products.length };
}

/** Error power of the encoded tensors relative to the originals', on average over the tensors. */
async function measureDistortion(source: Model, path: string): Promise<number> {
  const file = await openGguf(path);
  const originals = join(scratch, 'originals.gguf');
  await writeGguf(originals, modelToGguf(source));
  const exact = await openGguf(originals);
  const powers: number[] = [];
  for (const { name, dtype } of file.tensors) {
    if (dtype === undefined || !isBlockDType(dtype)) continue;
    powers.push(encodingDistortion(dtype, await exact.decodeTensor(name)).relative ** 2);
  }
  for (const opened of [file, exact]) await opened.close();
  return powers.reduce((sum, power) => sum + power, 0) / powers.length;
}

async function logitsOf(
  model: string,
  precision: 'f32' | 'fast',
  ids: readonly number[],
): Promise<Float32Array> {
  const kvType = precision === 'f32' ? 'f32' : 'f16';
  const engine = await Engine.load({ model, backend: cpu.backend, precision, kvType, context: 256 });
  const [result] = await evaluate(engine, [ids]);
  await engine.close();
  return result!.get('logits')!.data;
}

function* rowsOf(values: Float32Array, width: number): Generator<Float32Array> {
  for (let from = 0; from < values.length; from += width) yield values.subarray(from, from + width);
}

/** Variance of the logits of a position, on average over the positions. */
function rowVariance(logits: Float32Array, width: number): number {
  const variances = [...rowsOf(logits, width)].map((row) => {
    const mean = row.reduce((sum, value) => sum + value, 0) / width;
    return row.reduce((sum, value) => sum + (value - mean) ** 2, 0) / width;
  });
  return variances.reduce((sum, value) => sum + value, 0) / variances.length;
}

function meanDivergence(of: Float32Array, from: Float32Array, width: number): number {
  const rows = [...rowsOf(of, width)];
  const others = [...rowsOf(from, width)];
  const divergences = rows.map((row, index) => {
    const [p, q] = [logProbabilities(row), logProbabilities(others[index]!)];
    return p.reduce((sum, value, id) => sum + Math.exp(value) * (value - q[id]!), 0);
  });
  return divergences.reduce((sum, value) => sum + value, 0) / divergences.length;
}

function logProbabilities(logits: Float32Array): Float64Array {
  const top = logits.reduce((most, value) => Math.max(most, value));
  const sum = logits.reduce((total, value) => total + Math.exp(value - top), 0);
  return Float64Array.from(logits, (value) => value - top - Math.log(sum));
}

/** A Hugging Face directory with random weights, at the magnitudes of the golden checkpoints. */
async function writeRandomCheckpoint(folder: string, config: { model_type: string }): Promise<void> {
  const architecture = architectures.find(({ huggingFaceTypes }) =>
    huggingFaceTypes.includes(config.model_type),
  )!;
  const { weights } = architecture.fromHuggingFace(ConfigFields.fromJson('config.json', config));
  await mkdir(folder);
  await writeFile(join(folder, 'config.json'), JSON.stringify(config));
  const normal = normalNumbers();
  const tensors = weights
    .filter(({ optional }) => !optional)
    .map(({ name, shape, huggingFace }) => {
      const elements = shape.reduce((product, dim) => product * dim, 1);
      // Tied embeddings of this size give logits of a variance of ten; products elsewhere keep their input's magnitude.
      const deviation = shape.length === 1 ? 0.1 : /embed$/.test(name) ? 0.2 : shape.at(-1)! ** -0.5;
      const mean = /[nN]orm$|Scale$/.test(name) ? 1 : 0;
      const values = Float32Array.from({ length: elements }, () => mean + deviation * normal());
      return {
        name: `model.${huggingFace}`,
        dtype: 'f32' as const,
        shape,
        data: new Uint8Array(values.buffer),
      };
    });
  await writeSafetensors(join(folder, 'model.safetensors'), tensors);
}

/** Repeatable: a linear congruential generator (Numerical Recipes) through Box and Muller. */
function normalNumbers(): () => number {
  let state = 7;
  const next = (): number => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32;
  return () => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next());
}
