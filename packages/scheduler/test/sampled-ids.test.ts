/** Ids that no token has, of padding and of gaps, are never chosen, however a token is. */
import type { SampledIds } from '@unicorn-exec/tensor';
import { describe, expect, it } from 'vitest';
import { Scheduler, type GenerateRequest } from '../src/index.js';
import { runningAhead } from './running-ahead.js';
import { answer, promptOf } from './toy-answer.js';
import { ToyModel, toyBench, type Bench } from './toy-model.js';

const vocabulary = 37;
const sampled: SampledIds = { count: 29, absent: [0, 3, 7, 11, 12, 20, 27] };
const hasToken = (id: number): boolean => id < sampled.count && !sampled.absent.includes(id);
const everything = Array.from({ length: vocabulary }, (_, id) => id);
const missing = everything.filter((id) => !hasToken(id));

const words = new Int32Array(2).fill(-1);
const bias = Object.fromEntries(missing.map((id) => [id, 90]));
const drawn = { temperature: 1.5, topK: 0, topP: 1, minP: 0 };

/** Each would choose an id without a token before long if it could. */
const requests: Record<string, Partial<GenerateRequest>> = {
  greedy: { sampling: { temperature: 0 } },
  drawn: { sampling: drawn },
  'drawn of few': { sampling: { ...drawn, topK: 4, topP: 0.9, typicalP: 0.9 } },
  'biased towards them': { sampling: { ...drawn, logitBias: bias } },
  'greedy and biased': { sampling: { temperature: 0, logitBias: bias } },
  penalized: { sampling: { ...drawn, repetitionPenalty: 3, presencePenalty: 2, frequencyPenalty: 2 } },
  masked: { sampling: drawn, mask: () => words },
  'masked late': { sampling: drawn, lateMask: () => Promise.resolve(words) },
  'looking up guesses': { sampling: { temperature: 0 }, speculation: { draft: 'ngram' } },
  'a slice that guesses': {
    sampling: drawn,
    speculation: { draft: { feedForward: [8, 8], skip: [] } },
  },
  'told how likely': { sampling: drawn, logProbabilities: 8 },
};

const open = (ids?: SampledIds): Promise<Bench> =>
  toyBench(new ToyModel([undefined, 5], vocabulary, 96, ids));

describe.each([
  ['one step at a time', (bench: Bench): Bench => bench],
  ['steps ahead', (bench: Bench): Bench => ({ ...bench, device: runningAhead(bench.device) })],
])('ids without a token, %s', (_, as) => {
  it.each(Object.entries(requests))('are never chosen: %s', async (_name, request) => {
    const scheduler = await Scheduler.create({ ...as(await open(sampled)), blockTokens: 4, maxSequences: 4 });
    const answers = await Promise.all(
      [1, 2, 3, 4].map(async (seed) => {
        const sampling = { ...request.sampling, seed };
        const tokens: number[] = [];
        // They end nothing, though they are named; a prompt may hold them, since the embedding has rows of them.
        const asked = { ...request, sampling, tokens: promptOf(20, seed), maxTokens: 40, stopIds: missing };
        for await (const event of scheduler.generate(asked)) {
          if (event.kind === 'end') {
            expect(event.finishReason).toBe('length');
            continue;
          }
          tokens.push(event.token);
          if (event.logProbabilities) {
            const { chosen, top } = event.logProbabilities;
            expect(chosen).toBeGreaterThan(-Infinity);
            expect(top).toHaveLength(8);
            expect(top.every(({ token }) => hasToken(token))).toBe(true);
          }
        }
        return tokens;
      }),
    );
    expect(answers.flat()).toHaveLength(160);
    expect(answers.flat().filter((id) => !hasToken(id))).toEqual([]);
    await scheduler.close();
  });
});

it('gives the best of the tokens that there are', async () => {
  const [whole, padded] = [await open(), await open(sampled)];
  const reference = await Scheduler.create({ ...whole, kvDType: 'f32', precision: 'f32' });
  const scheduler = await Scheduler.create({ ...padded, kvDType: 'f32', precision: 'f32' });
  const prompt = promptOf(9);
  const { tokens } = await answer(scheduler, { tokens: prompt, maxTokens: 20, sampling: { temperature: 0 } });
  const all = [...prompt, ...tokens];
  const [result] = await reference.forward([all], { logits: 'all' });
  const logits = result!.logits!;
  const best = tokens.map((__, index) => {
    const row = logits.subarray(
      (prompt.length + index - 1) * vocabulary,
      (prompt.length + index) * vocabulary,
    );
    return everything.filter(hasToken).reduce((a, b) => (row[b]! > row[a]! ? b : a));
  });
  expect(tokens).toEqual(best);
  const free = await answer(reference, { tokens: prompt, maxTokens: 20, sampling: { temperature: 0 } });
  expect(free.tokens).not.toEqual(tokens);
  await Promise.all([reference.close(), scheduler.close()]);
});
