/** A real model, whose tokens are sampled by themselves when their masks come late: the tokens of masks that are there. */
import { openModel } from '@unicorn-exec/models';
import { modelPath } from '@unicorn-exec/model-nano';
import { Scheduler, type GenerateRequest } from '@unicorn-exec/scheduler';
import { describe, expect, it } from 'vitest';
import { backends } from './shared.js';

for (const { name, backend, usable } of backends.filter((one) => one.name !== 'reference')) {
  describe.skipIf(!usable)(`nano on ${name}`, () => {
    it('is sampled from what its step left, in company', { timeout: 120_000 }, async () => {
      const model = await openModel(modelPath);
      const tokenizer = await model.tokenizer();
      const device = await backend.open();
      const weights = await device.load(model.weights());
      const options = { device, weights, model, contextLength: 128, maxSequences: 3 };
      const scheduler = await Scheduler.create(options);
      const words = Math.ceil(model.vocabularySize / 32);
      const every = (generated: readonly number[]): Int32Array =>
        new Int32Array(words).fill(generated.length % 2 ? 0xaaaaaaaa | 0 : 0x55555555);
      const requests = ['Once upon a time', 'The fox'].map((text, seed): GenerateRequest => {
        return { tokens: tokenizer.encode(text), maxTokens: 6, sampling: { temperature: 0.7 * seed, seed } };
      });
      const idsOf = async (request: GenerateRequest): Promise<number[]> => {
        const ids: number[] = [];
        for await (const event of scheduler.generate(request))
          if (event.kind === 'token') ids.push(event.token);
        return ids;
      };
      const expected: number[][] = [];
      for (const request of requests) expected.push(await idsOf({ ...request, mask: every }));
      const plain = await idsOf(requests[0]!);
      const lateMask = async (generated: number[]): Promise<Int32Array> => every(generated);
      const late = requests.map((request) => idsOf({ ...request, lateMask }));
      expect(await Promise.all([...late, idsOf(requests[0]!)])).toEqual([...expected, plain]);
      await scheduler.close();
      weights.dispose();
      await device.close();
      await model.close();
    });
  });
}
