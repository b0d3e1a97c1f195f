/** The same checkpoint as GGUF gives the same logits: names, stacks, permutation, norms, rope and key names. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { MetadataEntry } from '@unicorn-exec/checkpoint';
import { openModel, type Model } from '../../src/index.js';
import {
  goldenFolder,
  GoldenNumbers,
  hasGolden,
  maxAbsDifference,
  ownGoldens,
  readMeta,
} from './golden-model.js';
import { f32, u32, writeTwin, type TwinOptions } from './gguf-twin.js';
import { StepRunner } from './step-runner.js';

const flags = (values: readonly boolean[]): MetadataEntry => ({ type: 'array', elementType: 'bool', values });

const twins: Record<string, (model: Model) => TwinOptions> = {
  llama: () => ({
    architecture: 'llama',
    permuted: true,
    metadata: { 'llama.rope.freq_base': f32(1e5), 'llama.rope.dimension_count': u32(16) },
  }),
  'llama3-rope': ({ definition }) => {
    // As the converter does it: one divisor for each pair instead of the scaling's numbers.
    const { frequencies } = definition.config.ropes.full;
    const divisors = frequencies.map(
      (frequency, pair) => 500_000 ** (-pair / frequencies.length) / frequency,
    );
    return {
      architecture: 'llama',
      permuted: true,
      metadata: { 'llama.rope.freq_base': f32(500_000) },
      extra: [
        {
          name: 'rope_freqs.weight',
          dtype: 'f32',
          shape: [divisors.length],
          data: new Uint8Array(divisors.buffer),
        },
      ],
    };
  },
  smollm3: () => ({
    architecture: 'smollm3',
    permuted: true,
    metadata: { 'smollm3.rope.freq_base': f32(5e6), 'smollm3.rope.dimension_count': u32(32) },
  }),
  qwen2: () => ({ architecture: 'qwen2', metadata: { 'qwen2.rope.freq_base': f32(1e6) } }),
  qwen3: () => ({ architecture: 'qwen3', metadata: { 'qwen3.rope.freq_base': f32(1e6) } }),
  gemma2: ({ definition: { config } }) => ({
    architecture: 'gemma2',
    metadata: {
      'gemma2.attention.sliding_window': u32(config.window!),
      'gemma2.attention.scale': f32(config.attentionScale),
      'gemma2.attn_logit_softcapping': f32(config.attentionSoftcap!),
      'gemma2.final_logit_softcapping': f32(config.logitSoftcap!),
    },
  }),
  'gemma3-text': ({ definition: { config } }) => ({
    architecture: 'gemma3',
    metadata: {
      'gemma3.attention.sliding_window': u32(config.window!),
      'gemma3.attention.scale': f32(config.attentionScale),
      'gemma3.rope.freq_base': f32(1e6),
      'gemma3.rope.scaling.type': { type: 'string', value: 'linear' },
      'gemma3.rope.scaling.factor': f32(8),
    },
  }),
  'gemma3n-text': ({ definition: { config } }) => ({
    architecture: 'gemma3n',
    metadata: {
      'gemma3n.attention.sliding_window': u32(config.window!),
      'gemma3n.attention.sliding_window_pattern': flags(
        config.layers.map(({ attention }) => attention === 'sliding'),
      ),
      'gemma3n.attention.shared_kv_layers': u32(3),
      'gemma3n.rope.freq_base': f32(1e6),
      'gemma3n.altup.num_inputs': u32(4),
      'gemma3n.altup.active_idx': u32(0),
      'gemma3n.embedding_length_per_layer_input': u32(32),
      'gemma3n.activation_sparsity_scale': {
        type: 'array',
        elementType: 'f32',
        values: config.layers.map(({ sparsityDeviations }) => sparsityDeviations ?? -Infinity),
      },
    },
  }),
};

let directory: string;
beforeAll(async () => (directory = await mkdtemp(join(tmpdir(), 'unicorn-models-'))));
afterAll(() => rm(directory, { recursive: true }));

it('writes a twin of every golden', () => expect(Object.keys(twins).sort()).toEqual(ownGoldens));

for (const [folder, options] of Object.entries(twins)) {
  describe.skipIf(!hasGolden(folder))(`${folder} as GGUF`, () => {
    it('has the logits of the golden', async () => {
      const original = await openModel(goldenFolder(folder));
      const path = join(directory, `${folder}.gguf`);
      await writeTwin(original, path, options(original));
      const twin = await openModel(path);
      expect(twin.format).toBe('gguf');
      expect(twin.weightType).toBe('F32');
      expect(twin.parameters).toBe(original.parameters);
      expect(twin.kvGroups).toEqual(original.kvGroups);
      const golden = await GoldenNumbers.open(folder);
      const runner = await StepRunner.create(twin);
      const ids = await golden.ids('a.input_ids');
      const { logits } = await runner.step([{ sequence: 0, position: 0, ids }]);
      const tolerance = 10 * readMeta(folder).checks.a!.f32_vs_f64_max_abs;
      expect(maxAbsDifference(logits!, await golden.floats('a.logits'))).toBeLessThanOrEqual(tolerance);
      await runner.close();
      for (const opened of [original, twin]) await opened.close();
      await golden.close();
    });
  });
}

it('ends answers at what is known to end a turn, whatever the file calls it, and needs no ids that exist', async () => {
  const original = await openModel(goldenFolder('llama'));
  const path = join(directory, 'ends.gguf');
  const values = ['a', '<|im_end|>', 'b'];
  await writeTwin(original, path, {
    architecture: 'llama',
    permuted: true,
    metadata: {
      'tokenizer.ggml.tokens': { type: 'array', elementType: 'string', values },
      'tokenizer.ggml.token_type': { type: 'array', elementType: 'i32', values: [1, 1, 1] },
      'tokenizer.ggml.bos_token_id': { type: 'i32', value: -1 },
      'tokenizer.ggml.eos_token_id': u32(3),
    },
  });
  const model = await openModel(path);
  expect(model).toMatchObject({ bosId: undefined, endOfTurnIds: [1] });
  for (const opened of [original, model]) await opened.close();
});
