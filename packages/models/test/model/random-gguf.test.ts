/** The generator of models with random weights: what it writes opens, has the shapes it promises, and computes. */
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { decodeRow, rowBytes, type DType } from '@unicorn-exec/tensor';
import {
  architectures,
  ConfigFields,
  configToGguf,
  openModel,
  type ModelDefinition,
} from '../../src/index.js';
import { StepRunner } from './step-runner.js';

interface Generator {
  presets: Record<string, { model_type: string }>;
  writeRandomGguf(path: string, options: Record<string, unknown>): Promise<void>;
  randomTypes: DType[];
  Random: new (seed: number) => object;
  randomBlocks(dtype: DType, elements: number, random: object): Iterable<Uint8Array>;
}

// A script in plain JavaScript: its modules are loaded by computed names, so that nobody asks for their types.
const load = async (name: string): Promise<object> =>
  import(`../../tools/random-gguf/${name}.mjs`) as Promise<object>;
const generator = Object.assign(
  {},
  await load('preset'),
  await load('random-weights'),
  await load('write'),
) as unknown as Generator;

function define(config: { model_type: string }): ModelDefinition {
  const architecture = architectures.find(({ huggingFaceTypes }) =>
    huggingFaceTypes.includes(config.model_type),
  );
  return architecture!.fromHuggingFace(ConfigFields.fromJson('preset', config));
}

describe('presets', () => {
  /** Parameters of the text models as their makers count them: all tensors, tied ones once. */
  const billions: Record<string, number> = {
    'smollm2-135m': 0.1345,
    'smollm3-3b': 3.075,
    'qwen2.5-0.5b': 0.494,
    'qwen2.5-1.5b': 1.544,
    'qwen2.5-7b': 7.616,
    'qwen3-0.6b': 0.596,
    'gemma3-270m': 0.268,
    'gemma3-1b': 1.0,
    'gemma3-4b': 3.88,
    'gemma3-12b': 11.77,
    'gemma3-27b': 27.01,
    // Without towers, and without the junk keys and values of sharing layers that published files carry.
    'gemma3n-e2b': 4.44,
    'gemma3n-e4b': 6.84,
  };
  for (const [name, config] of Object.entries(generator.presets)) {
    it(`${name} has as many parameters as the published model`, () => {
      const biases = config.model_type === 'qwen2' ? /attention\.(query|key|value)\.bias$/ : /(?!)/;
      const count = define(config)
        .weights.filter(({ name, optional }) => !optional || biases.test(name))
        .reduce((sum, { shape }) => sum + shape.reduce((product, dim) => product * dim, 1), 0);
      expect(Math.abs(count / 1e9 / billions[name]! - 1)).toBeLessThan(0.01);
    });
  }
});

describe('random blocks', () => {
  for (const dtype of generator.randomTypes) {
    it(`of ${dtype} have a mean of zero and the deviation of trained matrices`, () => {
      const count = 2 ** 16;
      const values = new Float32Array(count);
      const [bytes] = generator.randomBlocks(dtype, count, new generator.Random(7));
      expect(bytes).toHaveLength(rowBytes(dtype, count));
      decodeRow(dtype, bytes!, 0, count, values);
      const mean = values.reduce((sum, value) => sum + value, 0) / count;
      const deviation = Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / count);
      // The mean of that many draws deviates by a 256th of their deviation; signed nibbles are off by half a step.
      expect(Math.abs(mean)).toBeLessThan(0.003);
      expect(deviation).toBeGreaterThan(0.0175);
      expect(deviation).toBeLessThan(0.0225);
    });
  }
});

describe('a written file', () => {
  let directory: string;
  beforeAll(async () => (directory = await mkdtemp(join(tmpdir(), 'unicorn-random-'))));
  afterAll(() => rm(directory, { recursive: true }));

  const small = {
    vocab_size: 320,
    vocab_size_per_layer_input: 320,
    hidden_size: 256,
    hidden_size_per_layer_input: 32,
    num_hidden_layers: 3,
    num_kv_shared_layers: 1,
    layer_types: ['sliding_attention', 'full_attention', 'full_attention'],
    activation_sparsity_pattern: [0.95, 0, 0],
    intermediate_size: 512,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    head_dim: 64,
    sliding_window: 8,
  };
  for (const name of ['smollm2-135m', 'qwen2.5-0.5b', 'qwen3-0.6b', 'gemma3-12b', 'gemma3n-e4b']) {
    for (const mixture of ['Q4_0', 'Q8_0', 'Q4_K']) {
      it(`of ${name} in ${mixture}, made small, means what its configuration does, and computes`, async () => {
        const source = { ...generator.presets[name]!, ...small };
        const path = join(directory, `${name}-${mixture}.gguf`);
        const definition = define(source);
        const architecture = source.model_type.replace('_text', '');
        const configuration = configToGguf(definition, architecture);
        await generator.writeRandomGguf(path, { name, architecture, definition, configuration, mixture });
        const model = await openModel(path);
        // Two spellings of one rope differ in the last bit; norms have their 1 in GGUF files; Llama's heads are reordered.
        const comparable = { normOffset: 0, ropes: 0, layers: 0 };
        expect({ ...model.definition.config, ...comparable }).toMatchObject({
          ...definition.config,
          ...comparable,
          normEpsilon: Math.fround(definition.config.normEpsilon),
          attentionScale: expect.closeTo(definition.config.attentionScale, 6) as number,
        });
        expect(model.weightBytes).toBeLessThan((await stat(path)).size);
        const runner = await StepRunner.create(model, { logits: 'selected', sequences: 1 });
        const { logits } = await runner.step([
          { sequence: 0, position: 0, ids: [1, 5, 9, 200, 3, 4, 5, 6, 7, 8] },
        ]);
        expect(logits!.every(Number.isFinite)).toBe(true);
        expect(new Set(logits).size).toBeGreaterThan(200);
        await runner.close();
        await model.close();
      });
    }
  }
});
