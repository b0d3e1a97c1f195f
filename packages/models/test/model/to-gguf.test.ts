/** A model written as GGUF and read again is the same model. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { writeGguf } from '@unicorn-exec/checkpoint';
import { encodeTensor } from '@unicorn-exec/quant';
import { architectures, ConfigFields, configToGguf, modelToGguf, openModel } from '../../src/index.js';
import {
  elsewhere,
  goldenFolder,
  GoldenNumbers,
  hasGolden,
  maxAbsDifference,
  ownGoldens,
  readMeta,
} from './golden-model.js';
import { StepRunner } from './step-runner.js';

let directory: string;
beforeAll(async () => (directory = await mkdtemp(join(tmpdir(), 'unicorn-models-'))));
afterAll(() => rm(directory, { recursive: true }));

for (const folder of ownGoldens.flatMap((name) => [name, elsewhere + name])) {
  describe.skipIf(!hasGolden(folder))(folder, () => {
    it('has the same configuration and the logits of the golden', async () => {
      const original = await openModel(goldenFolder(folder));
      const path = join(directory, `${folder.replace('/', '-')}.gguf`);
      await writeGguf(path, modelToGguf(original));
      const copy = await openModel(path);
      const { config } = copy.definition;
      const wanted = original.definition.config;
      // GGUF files have the 1 in their norms; numbers are f32 there; a formula of a rope may have become a table.
      expect({ ...config, ropes: 0 }).toEqual({
        ...wanted,
        ropes: 0,
        normOffset: 0,
        normEpsilon: Math.fround(wanted.normEpsilon),
        attentionScale: expect.closeTo(wanted.attentionScale, 7) as number,
      });
      for (const kind of ['full', 'sliding'] as const) {
        const [found, expected] = [config.ropes[kind], wanted.ropes[kind]];
        expect(maxAbsDifference(found.frequencies, expected.frequencies)).toBeLessThan(1e-7);
        expect(found.magnitude).toBeCloseTo(expected.magnitude, 6);
      }
      const golden = await GoldenNumbers.open(folder);
      const ids = await golden.ids('a.input_ids');
      const runner = await StepRunner.create(copy);
      const { logits } = await runner.step([{ sequence: 0, position: 0, ids }]);
      const tolerance = 10 * readMeta(folder).checks['a']!.f32_vs_f64_max_abs;
      expect(maxAbsDifference(logits!, await golden.floats('a.logits'))).toBeLessThanOrEqual(tolerance);
      await runner.close();
      await golden.close();
      for (const opened of [original, copy]) await opened.close();
    });

    it('takes the type that is asked for, tensor by tensor', async () => {
      const original = await openModel(goldenFolder(folder));
      const path = join(directory, `${folder.replace('/', '-')}-q8.gguf`);
      const content = modelToGguf(original, {
        dtypeOf: ({ shape }) => (shape.length > 1 && shape.at(-1)! % 32 === 0 ? 'q8_0' : 'f32'),
        encode: encodeTensor,
      });
      await writeGguf(path, content);
      const copy = await openModel(path);
      expect(copy.weightType).toBe('Q8_0');
      expect(copy.parameters).toBe(original.parameters);
      for (const opened of [original, copy]) await opened.close();
    });
  });
}

it('refuses layers without rope where readers of the file would turn them', () => {
  const [smollm3] = architectures.filter(({ id }) => id === 'smollm3');
  const write = (config: Record<string, unknown>): unknown =>
    configToGguf(smollm3!.fromHuggingFace(ConfigFields.fromJson('config.json', config)), 'smollm3');
  expect(() => write({})).not.toThrow();
  const windows = { use_sliding_window: true, sliding_window: 512 };
  for (const config of [{ no_rope_layer_interval: 3 }, windows]) {
    expect(() => write(config)).toThrowError(
      expect.objectContaining({ code: 'unsupported/config' }) as Error,
    );
  }
});

describe('layers that slide', () => {
  const write = (id: string, config: Record<string, unknown>): Record<string, unknown> => {
    const [architecture] = architectures.filter((known) => known.id === id);
    const definition = architecture!.fromHuggingFace(ConfigFields.fromJson('config.json', config));
    return Object.fromEntries(configToGguf(definition, architecture!.ggufArchitectures[0]!));
  };
  const pattern = (id: string): string => `${id}.attention.sliding_window_pattern`;
  const kinds = ['sliding_attention', 'full_attention', 'full_attention', 'sliding_attention'];

  it('are left to the name of the architecture where they are its usual ones', () => {
    for (const id of ['gemma2', 'gemma3']) expect(write(id, {})).not.toHaveProperty([pattern(id)]);
  });

  it('are said where they are others', () => {
    for (const id of ['gemma2', 'gemma3']) {
      const written = write(id, { num_hidden_layers: 4, layer_types: kinds });
      expect(written[pattern(id)]).toMatchObject({ values: [true, false, false, true] });
    }
  });

  it('are refused where readers of the file would take them for full', () => {
    for (const id of ['qwen2', 'qwen3']) {
      const config = { use_sliding_window: true, sliding_window: 512, max_window_layers: 2 };
      expect(() => write(id, config)).toThrowError(
        expect.objectContaining({ code: 'unsupported/config' }) as Error,
      );
      expect(() => write(id, { ...config, use_sliding_window: false })).not.toThrow();
    }
  });
});

it('says what YaRN is', () => {
  const config = {
    vocab_size: 32,
    hidden_size: 16,
    intermediate_size: 24,
    num_attention_heads: 2,
    num_key_value_heads: 2,
    num_hidden_layers: 2,
    max_position_embeddings: 131_072,
    hidden_act: 'silu',
    rms_norm_eps: 1e-6,
    rope_scaling: { rope_type: 'yarn', factor: 4, original_max_position_embeddings: 32_768 },
  };
  const [qwen2] = architectures.filter(({ id }) => id === 'qwen2');
  const definition = qwen2!.fromHuggingFace(ConfigFields.fromJson('config.json', config));
  const metadata = Object.fromEntries(configToGguf(definition, 'qwen2'));
  expect(metadata).toMatchObject({
    'qwen2.rope.scaling.type': { value: 'yarn' },
    'qwen2.rope.scaling.factor': { value: 4 },
    'qwen2.rope.scaling.original_context_length': { value: 32_768 },
    'qwen2.rope.scaling.attn_factor': { value: 1 },
  });
});
