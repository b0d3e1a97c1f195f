/**
 * States that are not keys and values: a model with a convolution and linear attention gives the same tokens in any company
 * and chunks, after preemptions and prefix hits, and whatever is guessed.
 */
import fc from 'fast-check';
import { planKv } from '@unicorn-exec/tensor';
import { describe, expect, it } from 'vitest';
import { Scheduler, type GenerateRequest, type SchedulerOptions } from '../src/index.js';
import { RecurrentToy } from './recurrent-toy.js';
import { runningAhead } from './running-ahead.js';
import { answer, promptOf } from './toy-answer.js';
import { toyBench, ToyModel, type Bench } from './toy-model.js';
import { twoPhaseBench } from './two-phase.js';

const greedy = { temperature: 0 };
const drawn = { temperature: 1.2, topP: 0.95, presencePenalty: 0.3, repetitionPenalty: 1.1, seed: 5 };
const slice = { feedForward: [8, 8], skip: [] };

const requests: GenerateRequest[] = [
  { tokens: promptOf(9), maxTokens: 24, sampling: greedy },
  { tokens: promptOf(17, 1), maxTokens: 20, sampling: drawn },
  { tokens: [...promptOf(7, 2), ...promptOf(7, 2)], maxTokens: 22, sampling: greedy },
  { tokens: promptOf(5, 3), maxTokens: 18, sampling: drawn, size: slice },
];

const guessing: GenerateRequest['speculation'][] = [
  { draft: 'ngram', adaptive: false },
  { draft: slice, adaptive: false, maxTokens: 3 },
  { draft: slice },
  undefined,
];

const create = (bench: Bench, options: Partial<SchedulerOptions> = {}): Promise<Scheduler> =>
  Scheduler.create({ ...bench, blockTokens: 4, maxSequences: 4, ...options });

/** Of each request alone, token by token from the beginning, with nothing guessed. */
async function plainly(open: () => Promise<Bench>): Promise<number[][]> {
  const scheduler = await create(await open(), { maxSequences: 1, prefillChunk: 1 });
  const all: number[][] = [];
  for (const request of requests) {
    scheduler.clearPrefixCache();
    all.push((await answer(scheduler, request)).tokens);
  }
  await scheduler.close();
  return all;
}

describe.each([
  ['one runner', (): Promise<Bench> => toyBench(new RecurrentToy())],
  [
    'steps ahead',
    async (): Promise<Bench> => {
      const bench = await toyBench(new RecurrentToy());
      return { ...bench, device: runningAhead(bench.device) };
    },
  ],
  ['two runners', (): Promise<Bench> => twoPhaseBench(new RecurrentToy())],
])('sequence states, with %s', (_, open) => {
  it('matter', async () => {
    const scheduler = await create(await toyBench(new ToyModel()));
    const without = (await answer(scheduler, requests[0]!)).tokens;
    expect((await plainly(open))[0]).not.toEqual(without);
    await scheduler.close();
  });

  it('change no token in company, in chunks, where memory is short, and whatever is guessed', async () => {
    const expected = await plainly(open);
    await fc.assert(
      fc.asyncProperty(
        fc.record({
          prefillChunk: fc.constantFrom(3, 8, 64),
          kvTokens: fc.constantFrom(64, 96, 300),
          maxSequences: fc.integer({ min: 1, max: 4 }),
        }),
        fc.array(fc.constantFrom(...guessing), { minLength: 4, maxLength: 4 }),
        async (options, speculations) => {
          const scheduler = await create(await open(), options);
          const answers = await Promise.all(
            requests.map((request, index) =>
              answer(scheduler, { ...request, speculation: speculations[index] }),
            ),
          );
          expect(answers.map(({ tokens }) => tokens)).toEqual(expected);
          scheduler.checkIntegrity();
          await scheduler.close();
          scheduler.checkIntegrity();
        },
      ),
      { numRuns: 25 },
    );
  });

  it('are rolled back where a guess was wrong', async () => {
    const expected = await plainly(open);
    const scheduler = await create(await open());
    for (const speculation of guessing) {
      const { tokens, end } = await answer(scheduler, { ...requests[0]!, speculation });
      expect(tokens).toEqual(expected[0]);
      if (speculation?.adaptive !== false) continue;
      const { draftedTokens, acceptedTokens } = end.speculation!;
      expect(draftedTokens).toBeGreaterThan(acceptedTokens);
    }
    await scheduler.close();
  });

  it('go on where a conversation ended, and nowhere else', async () => {
    const bench = await open();
    const { numerics } = bench.device.info;
    const scheduler = await create(bench);
    const fresh = await create(await open());
    const cached = async (tokens: number[]): Promise<number> => {
      const request = { tokens, maxTokens: 6, sampling: greedy, reuse: 'sameSize' } as const;
      const { tokens: given, end } = await answer(scheduler, request);
      fresh.clearPrefixCache();
      // In two runners an answer's keys and values are of another class of bits than a prompt's.
      if (end.usage.cachedPromptTokens === 0 || numerics.prompt === numerics.token) {
        expect(given).toEqual((await answer(fresh, request)).tokens);
      }
      return end.usage.cachedPromptTokens;
    };
    const first = promptOf(11);
    const { tokens } = await answer(scheduler, { tokens: first, maxTokens: 5, sampling: greedy });
    const turn = [...first, ...tokens];
    // The last token was never computed.
    expect(await cached([...turn, 4, 2])).toBe(turn.length - 1);
    // What that left has gone on since, and the middle of it cannot be taken.
    expect(await cached([...turn, 4, 3])).toBe(0);
    expect(await cached(first.slice(0, 9))).toBe(0);
    scheduler.checkIntegrity();
    await scheduler.close();
    await fresh.close();
  });

  it('score whole sequences', async () => {
    const scheduler = await create(await open(), { prefillChunk: 8 });
    const whole = await create(await open(), { prefillChunk: 64 });
    const sequences = [promptOf(20), promptOf(13, 1)];
    expect(await scheduler.forward(sequences, { logits: 'all' })).toEqual(
      await whole.forward(sequences, { logits: 'all' }),
    );
    await scheduler.close();
    await whole.close();
  });
});

describe('the slots of sequence states', () => {
  it('are accounted for, and freed', async () => {
    const { model, weights, device } = await toyBench(new RecurrentToy());
    const recurrent = model as RecurrentToy;
    const before = device.memory().bufferBytes;
    const scheduler = await Scheduler.create({ model, weights, device, maxSequences: 2, kvDType: 'f32' });
    const { kvGroups: groups, sequenceStates, contextLength } = recurrent;
    const plan = { groups, contextLength, kvDType: 'f32', maxSequences: 2 } as const;
    const floats = 2 * 8 + 2 * 4 * 4;
    expect(scheduler.stats().kvBytes).toBe(planKv(plan).bytes + (1 + 3 * 2) * floats * 4);
    expect(scheduler.stats().kvBytes).toBe(planKv({ ...plan, sequenceStates }).bytes);
    await answer(scheduler, requests[0]!);
    await scheduler.close();
    expect(device.memory().bufferBytes).toBe(before);
  });
});
