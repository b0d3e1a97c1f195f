/**
 * Small checkpoints against Hugging Face transformers, layer by layer, on every backend in float32: the goldens of
 * `packages/models`, and those beside the checkout where they are.
 */
import { afterAll, describe, expect, it } from 'vitest';
import { Engine, type ElasticSpec } from '../src/index.js';
import { evaluate } from '../src/measure/index.js';
import { goldenModels, type GoldenMeta } from './golden-model.js';
import { argmax, backends, largestDifference, standardDeviation } from './shared.js';

/** Share of a layer's deviation that it may differ by, and residual streams that the golden's layers hold. */
const usualRule = { layerTolerance: 1e-4, streams: 1 };
const otherRules: Readonly<Record<string, typeof usualRule>> = {
  'gemma3n-text': { layerTolerance: 1e-3, streams: 4 },
};

for (const { name: backendName, backend, usable } of backends) {
  for (const golden of goldenModels) {
    const { layerTolerance, streams } = otherRules[golden.name.replace('shared/', '')] ?? usualRule;
    describe.skipIf(!usable || !golden.isThere)(`${golden.name} on ${backendName}`, () => {
      const meta = golden.meta();
      const options = {
        model: golden.path,
        backend,
        precision: 'f32',
        kvType: 'f32',
        context: 256,
      } as const;
      let loaded: Promise<Engine> | undefined;
      const engine = (): Promise<Engine> => (loaded ??= Engine.load(options));
      afterAll(async () => (await loaded)?.close());

      /** Ten times what float32 and float64 differ by. */
      const expectLogits = (
        actual: Float32Array,
        expected: Float32Array,
        checks: { readonly f32_vs_f64_max_abs: number },
      ): void =>
        expect(largestDifference(actual, expected)).toBeLessThanOrEqual(10 * checks.f32_vs_f64_max_abs);

      const expectHidden = (actual: Float32Array, expected: Float32Array, name: string): void => {
        const absolute = layerTolerance * standardDeviation(expected);
        const off = actual.findIndex(
          (value, i) => !(Math.abs(value - expected[i]!) <= absolute + 1e-4 * Math.abs(expected[i]!)),
        );
        expect(off, name).toBe(-1);
      };

      const compare = async (
        file: string,
        prompts: readonly string[],
        checks: GoldenMeta['checks'],
        elastic?: ElasticSpec,
      ): Promise<void> => {
        const ids = await Promise.all(
          prompts.map(async (prompt) => [...(await golden.read(`${prompt}.input_ids`, file))]),
        );
        const results = await evaluate(await engine(), ids, { layers: true, elastic });
        const names = await golden.names(file);
        for (const [index, prompt] of prompts.entries()) {
          const result = results[index]!;
          // Some goldens hold the hidden states of a few layers and of one prompt.
          if (names.includes(`${prompt}.embed`)) {
            const embedded = await golden.read(`${prompt}.embed`, file);
            expectHidden(result.get('hidden.0')!.data, embedded, 'embed');
          }
          for (let layer = 0; layer < (await engine()).model.layers; layer++) {
            const name = `${prompt}.layer.${layer}`;
            if (!names.includes(name)) continue;
            const all = await golden.read(name, file);
            // Gemma 3n's goldens hold every stream; stream 0 is the active one.
            const expected = all.subarray(0, all.length / streams);
            expectHidden(result.get(`hidden.${layer + 1}`)!.data, expected, name);
          }
          expectLogits(
            result.get('logits')!.data,
            await golden.read(`${prompt}.logits`, file),
            checks[prompt]!,
          );
        }
      };

      const compareGreedy = async (file: string, prompt: string, elastic?: ElasticSpec): Promise<void> => {
        const tokens = [...(await golden.read(`${prompt}.input_ids`, file))];
        const expected = [...(await golden.read(`${prompt}.greedy.ids`, file))];
        const generated: number[] = [];
        const request = {
          tokens,
          elastic,
          sampling: { temperature: 0 },
          maxTokens: expected.length,
          ignoreEnd: true,
        };
        for await (const chunk of (await engine()).generate(request)) generated.push(...chunk.tokens);
        expect(generated).toEqual(expected);
      };

      it('has layers to compare', async () => {
        const names = await golden.names();
        expect(names.filter((name) => /^a\.layer\.\d+$/.test(name)).length).toBeGreaterThan(1);
      });

      for (const prompt of Object.keys(meta.prompts)) {
        it(`${prompt}: hidden states and logits`, () => compare('io.safetensors', [prompt], meta.checks));
        it(`${prompt}: greedy continuation`, () => compareGreedy('io.safetensors', prompt));
      }

      it('b0 and b1 in one ragged batch', () => compare('io.safetensors', ['b0', 'b1'], meta.checks));

      for (const [name, slice] of Object.entries(meta.slices ?? {})) {
        const elastic = { feedForward: slice.intermediate_size, skip: [] };
        it(`slice ${name}: hidden states and logits`, () =>
          compare(slice.file, ['a'], slice.checks, elastic));
        it(`slice ${name}: greedy continuation`, () => compareGreedy(slice.file, 'a', elastic));
      }

      it('logits of a row do not depend on the batch, bit for bit', async () => {
        const [b0, b1] = await Promise.all(
          ['b0', 'b1'].map(async (prompt) => [...(await golden.read(`${prompt}.input_ids`))]),
        );
        const [alone] = await evaluate(await engine(), [b0!]);
        const [, together] = await evaluate(await engine(), [b1!, b0!]);
        expect(largestDifference(alone!.get('logits')!.data, together!.get('logits')!.data)).toBe(0);
        expect(argmax(alone!.get('logits')!.data)).toBe(argmax(together!.get('logits')!.data));
      });
    });
  }
}
