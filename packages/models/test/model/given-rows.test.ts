/** Steps whose rows are given instead of embedded, and steps that say how far each token sees. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openModel, type Model } from '../../src/index.js';
import { goldenFolder, hasGolden } from './golden-model.js';
import { StepRunner, type RunnerOptions } from './step-runner.js';

const ids = [3, 14, 15, 9, 26, 5, 35];

for (const folder of ['llama', 'gemma3n-text']) {
  describe.skipIf(!hasGolden(folder))(`a step of ${folder}`, () => {
    let model: Model;
    beforeAll(async () => {
      model = await openModel(goldenFolder(folder));
    });
    afterAll(() => model.close());

    async function run(
      options: RunnerOptions,
      extras: Parameters<StepRunner['step']>[2] = {},
      tokens = ids,
    ): Promise<Record<string, Float32Array>> {
      const runner = await StepRunner.create(model, options);
      const results = await runner.step([{ sequence: 0, position: 0, ids: tokens }], undefined, extras);
      await runner.close();
      return results;
    }

    it('takes given rows in the place of embeddings', async () => {
      const plain = await run({ hidden: true });
      const embedded = plain['hidden.0']!;
      const features = embedded.length / ids.length;
      const givenRows = [5, 2];
      const given = Float32Array.from(
        givenRows.flatMap((row) => [...embedded.subarray(row * features, (row + 1) * features)]),
      );
      const same = await run({ hidden: true, given: true }, { given, givenRows });
      expect(same).toEqual(plain);
      const other = await run({ hidden: true, given: true }, { given: given.map((x) => x + 1), givenRows });
      // Rows before the first that was given are as they were; it itself is not.
      const logits = (results: Record<string, Float32Array>, row: number): Float32Array =>
        results['logits']!.subarray(row * model.vocabularySize, (row + 1) * model.vocabularySize);
      expect(logits(other, 1)).toEqual(logits(plain, 1));
      expect(logits(other, 2)).not.toEqual(logits(plain, 2));
      const none = await run({ hidden: true, given: true }, { given: new Float32Array(0), givenRows: [] });
      expect(none).toEqual(plain);
    });

    it.each(['all', 'selected'] as const)('sees as far as it is told, with %s logits', async (logits) => {
      const plain = await run({ logits });
      const own = ids.map((_, position) => position);
      expect(await run({ logits, reach: true }, { reach: own })).toEqual(plain);
      const span = ids.map((_, position) => (position < 4 ? Math.max(position, 3) : position));
      const twoWay = await run({ logits, reach: true }, { reach: span });
      expect(twoWay['logits']).not.toEqual(plain['logits']);
    });
  });
}

describe.skipIf(!hasGolden('llama'))('a step of llama with given rows', () => {
  it('does not read the ids of those rows', async () => {
    const model = await openModel(goldenFolder('llama'));
    const runner = await StepRunner.create(model, { hidden: true, given: true });
    const step = (tokens: readonly number[], given: Float32Array, givenRows: readonly number[]) =>
      runner.step([{ sequence: 0, position: 0, ids: tokens }], undefined, { given, givenRows });
    const plain = await step(ids, new Float32Array(0), []);
    const features = plain['hidden.0']!.length / ids.length;
    const given = plain['hidden.0']!.slice(4 * features, 5 * features);
    expect(await step(ids.with(4, 0), given, [4])).toEqual(plain);
    await runner.close();
    await model.close();
  });
});
