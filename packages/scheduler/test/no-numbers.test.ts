/** A request whose logits are no numbers fails, and tells so; those beside it get the tokens that they get alone. */
import { describe, expect, it } from 'vitest';
import type { WeightEntry } from '@unicorn-exec/tensor';
import { Scheduler, type GenerateRequest } from '../src/index.js';
import { runningAhead } from './running-ahead.js';
import { answer, promptOf } from './toy-answer.js';
import { ToyModel, type Bench, toyBench } from './toy-model.js';
import { twoPhaseBench } from './two-phase.js';

const spoiledId = 5;

/** A toy in which one token's embedding holds what is no number. */
class SpoiledToy extends ToyModel {
  constructor(readonly value: number) {
    super();
  }

  override get weights(): WeightEntry[] {
    return super.weights.map((entry) => {
      if (entry.name !== 'embed' || entry.source.kind !== 'bytes') return entry;
      const floats = new Float32Array(entry.source.bytes.buffer.slice(0));
      floats[spoiledId * entry.shape[1]! + 3] = this.value;
      return { ...entry, source: { kind: 'bytes', bytes: new Uint8Array(floats.buffer) } };
    });
  }
}

const clean = (count: number, salt: number): number[] =>
  promptOf(count, salt).map((id) => (id === spoiledId ? 6 : id));
/** Never drawn, so that only prompts hold it. */
const logitBias = { [spoiledId]: -100 };
const greedy = { temperature: 0, logitBias };
const drawn = { temperature: 1.2, topK: 9, seed: 4, logitBias };
const words = new Int32Array(2).fill(-1);

const kinds: Record<string, Partial<GenerateRequest>> = {
  greedy: { sampling: greedy },
  drawn: { sampling: drawn },
  penalized: { sampling: { ...drawn, repetitionPenalty: 1.3, presencePenalty: 0.5 } },
  masked: { sampling: drawn, mask: () => words },
  'masked late': { sampling: drawn, lateMask: () => Promise.resolve(words) },
  'guessed by a slice': {
    sampling: greedy,
    speculation: { draft: { feedForward: [8, 8], skip: [] }, adaptive: false },
  },
  'looked up': { sampling: greedy, speculation: { draft: 'ngram', adaptive: false } },
  'told how likely': { sampling: drawn, logProbabilities: 3 },
};

describe.each([
  ['a step at a time', (model: ToyModel): Promise<Bench> => toyBench(model)],
  [
    'steps ahead',
    async (model: ToyModel): Promise<Bench> => {
      const bench = await toyBench(model);
      return { ...bench, device: runningAhead(bench.device) };
    },
  ],
  ['two phases', (model: ToyModel): Promise<Bench> => twoPhaseBench(model)],
])('logits that are no numbers, %s', (_, open) => {
  describe.each([NaN, Infinity, -Infinity])('%d', (value) => {
    it.each(Object.entries(kinds))('%s', async (_name, kind) => {
      const scheduler = await Scheduler.create({
        ...(await open(new SpoiledToy(value))),
        blockTokens: 4,
        maxSequences: 4,
        prefillChunk: 8,
      });
      const good = [0, 1].map((salt) => ({ ...kind, tokens: clean(7 + 6 * salt, salt), maxTokens: 18 }));
      const expected = [];
      for (const request of good) {
        expected.push((await answer(scheduler, request)).tokens);
        scheduler.clearPrefixCache();
      }
      const bad = [3, 14].map((at) => ({ ...kind, tokens: clean(16, 2).with(at, spoiledId), maxTokens: 18 }));
      const answers = await Promise.allSettled(
        [good[0]!, bad[0]!, bad[1]!, good[1]!].map((request) => answer(scheduler, request)),
      );
      const [first, ...rest] = answers;
      const last = rest.pop();
      expect([first, last]).toMatchObject(
        expected.map((tokens) => ({ status: 'fulfilled', value: { tokens } })),
      );
      for (const failed of rest) {
        const reason = { code: 'device/result', fields: { position: 16 } };
        expect(failed).toMatchObject({ status: 'rejected', reason });
        expect(String((failed as PromiseRejectedResult).reason)).toContain('computed no numbers');
      }
      // What they left in memory harms nobody.
      for (const [index, request] of good.entries())
        expect((await answer(scheduler, request)).tokens).toEqual(expected[index]);
      scheduler.checkIntegrity();
      await scheduler.close();
    });
  });
});
