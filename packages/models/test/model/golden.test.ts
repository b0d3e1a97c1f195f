/** Models on the reference backend against the numbers of Hugging Face transformers. Rules: goldens' README. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ElasticSize } from '@unicorn-exec/tensor';
import { architectures, openModel, type Model } from '../../src/index.js';
import {
  elsewhere,
  goldenFolder,
  GoldenNumbers,
  hasGolden,
  layerExcess,
  maxAbsDifference,
  ownGoldens,
  readMeta,
} from './golden-model.js';
import { best, StepRunner } from './step-runner.js';

interface LayerRule {
  /** Deviations of the golden that a layer may differ by, besides rtol 1e-4. */
  readonly layerShare: number;
  /** Residual streams that the golden's layers hold. */
  readonly streams: number;
}

const usualRule: LayerRule = { layerShare: 1e-4, streams: 1 };
const otherRules: Readonly<Record<string, LayerRule>> = {
  'gemma3n-text': { layerShare: 1e-3, streams: 4 },
};

function configType(folder: string): string {
  const text = readFileSync(join(goldenFolder(folder), 'config.json'), 'utf8');
  return (JSON.parse(text) as { model_type: string }).model_type;
}

/** The package's own, and those of the same names beside the checkout where they are. */
const all = ownGoldens.flatMap((name) => {
  const rule = otherRules[name] ?? usualRule;
  return [name, elsewhere + name].map((folder) => ({ folder, ...rule }));
});

it('has a golden of its own for every architecture', () => {
  const types = ownGoldens.map((folder) => configType(folder));
  for (const { id, huggingFaceTypes } of architectures) {
    expect(
      huggingFaceTypes.some((type) => types.includes(type)),
      id,
    ).toBe(true);
  }
});

for (const { folder, layerShare, streams } of all) {
  describe.skipIf(!hasGolden(folder))(`golden ${folder}`, () => {
    const meta = readMeta(folder);
    let model: Model;
    let golden: GoldenNumbers;
    beforeAll(async () => {
      model = await openModel(goldenFolder(folder));
      golden = await GoldenNumbers.open(folder);
    });
    afterAll(async () => {
      await model.close();
      await golden.close();
    });

    it('has the hidden states and logits of prompt a', async () => {
      await checkForward('a');
    });

    it('computes b0 and b1 in one batch as it does alone', async () => {
      const prompts = [await golden.ids('b0.input_ids'), await golden.ids('b1.input_ids')];
      const runner = await StepRunner.create(model);
      const together = await runner.step(prompts.map((ids, sequence) => ({ sequence, position: 0, ids })));
      const split = prompts[0]!.length * model.vocabularySize;
      const parts = [together.logits!.subarray(0, split), together.logits!.subarray(split)];
      for (const [index, name] of ['b0', 'b1'].entries()) {
        const tolerance = 10 * meta.checks[name]!.f32_vs_f64_max_abs;
        expect(maxAbsDifference(parts[index]!, await golden.floats(`${name}.logits`))).toBeLessThanOrEqual(
          tolerance,
        );
        const alone = await StepRunner.create(model);
        const own = await alone.step([{ sequence: 0, position: 0, ids: prompts[index]! }]);
        expect(maxAbsDifference(parts[index]!, own.logits!)).toBe(0);
        await alone.close();
      }
      await runner.close();
    });

    it('continues greedily as the reference does, two sequences in one step', async () => {
      await checkGreedy(['b0', 'b1'], golden);
    });

    it('gives the same bits in chunks of prefill as at once', async () => {
      const ids = await golden.ids('a.input_ids');
      const whole = await StepRunner.create(model, { logits: 'selected' });
      const chunked = await StepRunner.create(model, { logits: 'selected' });
      const expected = await whole.step([{ sequence: 1, position: 0, ids }]);
      await chunked.step([{ sequence: 0, position: 0, ids: ids.slice(0, 7) }]);
      await chunked.step([{ sequence: 0, position: 7, ids: ids.slice(7, 8) }]);
      const last = await chunked.step([{ sequence: 0, position: 8, ids: ids.slice(8) }]);
      expect(maxAbsDifference(last.logits!, expected.logits!)).toBe(0);
      await whole.close();
      await chunked.close();
    });

    it('computes selected rows as it computes all', async () => {
      const ids = await golden.ids('a.input_ids');
      const all = await StepRunner.create(model);
      const selected = await StepRunner.create(model, { logits: 'selected' });
      const parts = [
        { sequence: 0, position: 0, ids },
        { sequence: 1, position: 0, ids: ids.slice(0, 5) },
      ];
      const everything = (await all.step(parts)).logits!;
      const some = (await selected.step(parts, [[0, 20, ids.length - 1], [3]])).logits!;
      const width = model.vocabularySize;
      [0, 20, ids.length - 1, ids.length + 3].forEach((row, index) => {
        const wanted = everything.subarray(row * width, (row + 1) * width);
        expect(maxAbsDifference(some.subarray(index * width, (index + 1) * width), wanted)).toBe(0);
      });
      await all.close();
      await selected.close();
    });

    it('writes the same keys and values when no logits are wanted', async () => {
      const ids = await golden.ids('a.input_ids');
      const expected = await StepRunner.create(model, { logits: 'selected' });
      const wanted = await expected.step([{ sequence: 0, position: 0, ids }]);
      const silent = await StepRunner.create(model, { logits: 'none' });
      await silent.step([{ sequence: 0, position: 0, ids: ids.slice(0, -1) }]);
      const continued = await StepRunner.create(model, { logits: 'selected' });
      continued.adopt(silent);
      const last = await continued.step([{ sequence: 0, position: ids.length - 1, ids: ids.slice(-1) }]);
      expect(maxAbsDifference(last.logits!, wanted.logits!)).toBe(0);
      for (const runner of [expected, silent, continued]) await runner.close();
    });

    for (const [name, slice] of Object.entries(meta.slices ?? {})) {
      it(`has the hidden states, logits and greedy ids of the slice ${name}`, async () => {
        const numbers = await GoldenNumbers.open(folder, slice.file);
        const size = model.resolveSize(slice.intermediate_size.join(','));
        await checkForward('a', { numbers, size, checks: slice.checks });
        await checkGreedy(['a'], numbers, size);
        await numbers.close();
      });
    }

    async function checkForward(
      prompt: string,
      slice?: { numbers: GoldenNumbers; size: ElasticSize; checks: typeof meta.checks },
    ): Promise<void> {
      const numbers = slice?.numbers ?? golden;
      const ids = await golden.ids(`${prompt}.input_ids`);
      const runner = await StepRunner.create(model, { hidden: true, ...(slice ? { size: slice.size } : {}) });
      const results = await runner.step([{ sequence: 0, position: 0, ids }]);
      if (numbers.has(`${prompt}.embed`)) {
        expect(
          layerExcess(results['hidden.0']!, await numbers.floats(`${prompt}.embed`), 1e-4),
        ).toBeLessThanOrEqual(1);
      }
      for (let layer = 0; layer < model.layers; layer++) {
        const name = `${prompt}.layer.${layer}`;
        if (!numbers.has(name)) continue;
        const all = await numbers.floats(name);
        // Gemma 3n's goldens hold every stream; a step hands out the active one, the first.
        const expected = all.subarray(0, all.length / streams);
        expect(layerExcess(results[`hidden.${layer + 1}`]!, expected, layerShare), name).toBeLessThanOrEqual(
          1,
        );
      }
      const tolerance = 10 * (slice?.checks ?? meta.checks)[prompt]!.f32_vs_f64_max_abs;
      expect(maxAbsDifference(results.logits!, await numbers.floats(`${prompt}.logits`))).toBeLessThanOrEqual(
        tolerance,
      );
      await runner.close();
    }

    async function checkGreedy(
      prompts: readonly string[],
      numbers: GoldenNumbers,
      size?: ElasticSize,
    ): Promise<void> {
      const runner = await StepRunner.create(model, { logits: 'selected', ...(size ? { size } : {}) });
      const inputs = await Promise.all(prompts.map((prompt) => golden.ids(`${prompt}.input_ids`)));
      const wanted = await Promise.all(prompts.map((prompt) => numbers.ids(`${prompt}.greedy.ids`)));
      const positions = inputs.map(() => 0);
      let next = inputs;
      const found: number[][] = inputs.map(() => []);
      for (let step = 0; step < wanted[0]!.length; step++) {
        const { logits } = await runner.step(
          next.map((ids, sequence) => ({ sequence, position: positions[sequence]!, ids })),
        );
        next.forEach((ids, sequence) => (positions[sequence]! += ids.length));
        next = next.map((_, sequence) => {
          const width = model.vocabularySize;
          return [best(logits!.subarray(sequence * width, (sequence + 1) * width))];
        });
        next.forEach(([id], sequence) => found[sequence]!.push(id!));
      }
      expect(found).toEqual(wanted);
      await runner.close();
    }
  });
}
