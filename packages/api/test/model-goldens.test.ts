/** Small checkpoints against Hugging Face transformers, layer by layer, on every backend in float32. */
import { afterAll, describe, expect, it } from 'vitest';
import { Engine, type ElasticSpec } from '../src/index.js';
import { evaluate } from '../src/measure/index.js';
import {
  argmax,
  backends,
  goldenFile,
  hasShared,
  largestDifference,
  sharedJson,
  sharedPath,
  standardDeviation,
} from './shared.js';

interface Meta {
  prompts: Record<string, number>;
  checks: Record<string, { f32_vs_f64_max_abs: number }>;
  slices?: Record<string, { intermediate_size: number[]; file: string; checks: Meta['checks'] }>;
}

/** Models of the goldens that this release supports. `layerTolerance` is that of the goldens' README. */
const models = [
  { folder: 'llama', layerTolerance: 1e-4, streams: 1 },
  { folder: 'llama3-rope', layerTolerance: 1e-4, streams: 1 },
  { folder: 'qwen2', layerTolerance: 1e-4, streams: 1 },
  { folder: 'qwen3', layerTolerance: 1e-4, streams: 1 },
  { folder: 'gemma2', layerTolerance: 1e-4, streams: 1 },
  { folder: 'gemma3-text', layerTolerance: 1e-4, streams: 1 },
  { folder: 'gemma3n-text', layerTolerance: 1e-3, streams: 4 },
];

for (const { name: backendName, backend, usable } of backends) {
  for (const { folder, layerTolerance, streams } of models) {
    const root = `goldens/models/${folder}`;
    describe.skipIf(!usable || !hasShared(root))(`${folder} on ${backendName}`, async () => {
      const meta = hasShared(root) ? sharedJson<Meta>(`${root}/meta.json`) : { prompts: {}, checks: {} };
      const options = {
        model: sharedPath(root),
        backend,
        precision: 'f32',
        kvType: 'f32',
        context: 256,
      } as const;
      let loaded: Promise<Engine> | undefined;
      const engine = (): Promise<Engine> => (loaded ??= Engine.load(options));
      afterAll(async () => (await loaded)?.close());

      /** Rule of the goldens' README: ten times what float32 and float64 differ by. */
      const expectLogits = (
        actual: Float32Array,
        golden: Float32Array,
        checks: { f32_vs_f64_max_abs: number },
      ): void =>
        expect(largestDifference(actual, golden)).toBeLessThanOrEqual(10 * checks.f32_vs_f64_max_abs);

      const expectHidden = (actual: Float32Array, golden: Float32Array): void => {
        const absolute = layerTolerance * standardDeviation(golden);
        const off = actual.findIndex(
          (value, i) => !(Math.abs(value - golden[i]!) <= absolute + 1e-4 * Math.abs(golden[i]!)),
        );
        expect(off).toBe(-1);
      };

      const compare = async (
        file: string,
        prompts: readonly string[],
        checks: Meta['checks'],
        elastic?: ElasticSpec,
      ): Promise<void> => {
        const golden = goldenFile(`${root}/${file}`);
        const ids = await Promise.all(
          prompts.map(async (prompt) => [...(await golden(`${prompt}.input_ids`))]),
        );
        const results = await evaluate(await engine(), ids, { layers: true, elastic });
        for (const [index, prompt] of prompts.entries()) {
          const result = results[index]!;
          expectHidden(result.get('hidden.0')!.data, await golden(`${prompt}.embed`));
          const layers = (await engine()).model.layers;
          for (let layer = 0; layer < layers; layer++) {
            const all = await golden(`${prompt}.layer.${layer}`);
            // Gemma 3n's goldens hold every stream; stream 0 is the active one.
            expectHidden(result.get(`hidden.${layer + 1}`)!.data, all.subarray(0, all.length / streams));
          }
          expectLogits(result.get('logits')!.data, await golden(`${prompt}.logits`), checks[prompt]!);
        }
      };

      const compareGreedy = async (file: string, prompt: string, elastic?: ElasticSpec): Promise<void> => {
        const golden = goldenFile(`${root}/${file}`);
        const tokens = [...(await golden(`${prompt}.input_ids`))];
        const expected = [...(await golden(`${prompt}.greedy.ids`))];
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
        const golden = goldenFile(`${root}/io.safetensors`);
        const [b0, b1] = await Promise.all(
          ['b0', 'b1'].map(async (prompt) => [...(await golden(`${prompt}.input_ids`))]),
        );
        const [alone] = await evaluate(await engine(), [b0!]);
        const [, together] = await evaluate(await engine(), [b1!, b0!]);
        expect(largestDifference(alone!.get('logits')!.data, together!.get('logits')!.data)).toBe(0);
        expect(argmax(alone!.get('logits')!.data)).toBe(argmax(together!.get('logits')!.data));
      });
    });
  }
}
