/** Speculation on the reference backend: it may change when a token comes, never which. */
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Scheduler, type GenerateRequest, type SchedulerOptions } from '../src/index.js';
import type { SpeculationOptions } from '../src/index.js';
import { answer, promptOf } from './toy-answer.js';
import { randomNumbers, ToyModel, toyBench, type Bench } from './toy-model.js';

const greedy = { temperature: 0 };
const drawn = { temperature: 1.1, topP: 0.95, seed: 5 };
const half = { feedForward: [8, 8], skip: [] };
const whole = { feedForward: [12, 12], skip: [] };
const always = (draft: SpeculationOptions['draft'], maxTokens?: number): SpeculationOptions => ({
  draft,
  maxTokens,
  adaptive: false,
});

async function withScheduler<T>(
  bench: Bench,
  options: Partial<SchedulerOptions>,
  use: (scheduler: Scheduler) => Promise<T>,
): Promise<T> {
  const before = bench.device.memory().bufferBytes;
  const scheduler = await Scheduler.create({ ...bench, kvDType: 'f32', blockTokens: 4, ...options });
  const result = await use(scheduler);
  scheduler.checkIntegrity();
  for (const { reservedBlocks } of scheduler.stats().kvGroups) expect(reservedBlocks).toBe(0);
  await scheduler.close();
  expect(bench.device.memory().bufferBytes).toBe(before);
  return result;
}

/** Lets through the ids that the last one does not forbid: each parity in turn. */
const parity = (generated: readonly number[]): Int32Array | undefined =>
  generated.length % 5 === 4 ? undefined : new Int32Array(2).fill(generated.length % 2 ? 0x55555555 : -1);

describe('speculation', () => {
  let bench: Bench;
  beforeAll(async () => {
    bench = await toyBench(new ToyModel());
  });
  afterAll(() => bench.device.close());

  const plain = (request: GenerateRequest): Promise<number[]> =>
    withScheduler(bench, {}, async (scheduler) => {
      const { speculation: _, ...rest } = request;
      return (await answer(scheduler, { ...rest, reuse: 'none' })).tokens;
    });

  it('answers as plain decoding does, greedy and drawn, alone and in company, for every draft and depth', async () => {
    const benches = await Promise.all(
      [[undefined, 5], [undefined], [6, undefined, 3], [7]].map((windows) => toyBench(new ToyModel(windows))),
    );
    const request = fc.record({
      tokens: fc
        .tuple(fc.integer({ min: 1, max: 30 }), fc.nat(6))
        .map(([count, salt]) => promptOf(count, salt)),
      maxTokens: fc.integer({ min: 1, max: 40 }),
      sampling: fc.oneof(
        fc.constant(greedy),
        fc.record({
          temperature: fc.constantFrom(0, 0.7, 1.5),
          topK: fc.constantFrom(0, 5),
          repetitionPenalty: fc.constantFrom(1, 1.3),
          frequencyPenalty: fc.constantFrom(0, 0.6),
          presencePenalty: fc.constantFrom(0, -0.5),
          logitBias: fc.constantFrom({}, { 3: 2, 9: -100 }),
          seed: fc.nat(1000),
        }),
      ),
      stopIds: fc.constantFrom([], [], [17]),
      mask: fc.constantFrom(undefined, undefined, parity),
      speculation: fc.option(
        fc.record({
          draft: fc.constantFrom(
            'ngram' as const,
            { feedForward: [8, 8, 8], skip: [] },
            { feedForward: [4, 4, 4], skip: [] },
            { feedForward: [12, 12, 12], skip: [] },
          ),
          maxTokens: fc.integer({ min: 1, max: 16 }),
          adaptive: fc.constantFrom(false, false, true),
        }),
        { nil: undefined },
      ),
    });
    const setting = fc.record({
      own: fc.constantFrom(...benches),
      requests: fc.array(request, { minLength: 1, maxLength: 4 }),
      maxSequences: fc.integer({ min: 1, max: 3 }),
      prefillChunk: fc.constantFrom(1, 7, 40, 40),
      kvTokens: fc.constantFrom(72, 96, 300),
    });
    let accepted = 0;
    await fc.assert(
      fc.asyncProperty(setting, async ({ own, requests, ...options }) => {
        const expected: number[][] = [];
        for (const { speculation: _, ...rest } of requests) {
          expected.push(
            await withScheduler(
              own,
              {},
              async (scheduler) => (await answer(scheduler, { ...rest, reuse: 'none' })).tokens,
            ),
          );
        }
        await withScheduler(own, options, async (scheduler) => {
          const answers = await Promise.all(
            requests.map(async (one) => {
              const tokens: number[] = [];
              for await (const event of scheduler.generate(one)) {
                scheduler.checkIntegrity();
                if (event.kind === 'token') tokens.push(event.token);
              }
              return tokens;
            }),
          );
          expect(answers).toEqual(expected);
          accepted += scheduler.stats().acceptedTokens;
          expect(scheduler.stats().generatedTokens).toBe(answers.flat().length);
        });
      }),
      { numRuns: 60, seed: 3 },
    );
    // The comparison means something only where drafts were right.
    expect(accepted).toBeGreaterThan(300);
    for (const { device } of benches) await device.close();
  }, 120_000);

  it('takes every guess of a draft as good as the model, and accounts for it', async () => {
    const request = { tokens: promptOf(9), maxTokens: 21, sampling: drawn };
    const expected = await plain(request);
    await withScheduler(bench, {}, async (scheduler) => {
      await scheduler.prepare({ speculation: always(whole) });
      const { tokens, end } = await answer(scheduler, { ...request, speculation: always(whole, 4) });
      expect(tokens).toEqual(expected);
      // One token from the prompt, then 4 steps of 4 guesses and a token.
      const account = { draftedTokens: 16, acceptedTokens: 16, speculationSteps: 4 };
      expect(end.speculation).toEqual(account);
      expect(end.usage.completionTokens).toBe(21);
      expect(scheduler.stats()).toMatchObject({
        ...account,
        generatedTokens: 21,
        prefilledTokens: 9,
        submissions: 1 + 4 * 5,
      });
      const without = await answer(scheduler, request);
      expect(without.end).not.toHaveProperty('speculation');
    });
  });

  it('accounts for what a worse draft got right', async () => {
    await withScheduler(bench, {}, async (scheduler) => {
      const { end } = await answer(scheduler, {
        tokens: promptOf(9),
        maxTokens: 60,
        sampling: drawn,
        speculation: always({ feedForward: [4, 4], skip: [] }, 3),
      });
      const { draftedTokens, acceptedTokens, speculationSteps } = end.speculation!;
      expect(acceptedTokens).toBeGreaterThan(0);
      expect(acceptedTokens).toBeLessThan(draftedTokens);
      // Every step gives one token more than it accepted; the first token is the prompt's.
      expect(acceptedTokens + speculationSteps).toBe(59);
    });
  });

  it('leaves the keys and values of the own size in the cache, for it and nobody else', async () => {
    const speculation = always(half, 5);
    await withScheduler(bench, {}, async (scheduler) => {
      let conversation = promptOf(11);
      for (const turn of [1, 2, 3]) {
        const request = { tokens: conversation, maxTokens: 13, sampling: { ...drawn, seed: turn } };
        const { tokens, end } = await answer(scheduler, { ...request, speculation });
        expect(tokens).toEqual(await plain(request));
        if (turn > 1) expect(end.usage.cachedPromptTokens).toBeGreaterThanOrEqual(conversation.length - 4);
        conversation = [...conversation, ...tokens, ...promptOf(3, turn)];
      }
      const other = await answer(scheduler, { tokens: conversation, maxTokens: 2, size: half });
      expect(other.end.usage.cachedPromptTokens).toBe(0);
    });
  });

  it('looks the answer up in the prompt, and guesses nothing where nothing was there before', async () => {
    const request = { tokens: promptOf(9), maxTokens: 40, sampling: greedy };
    const expected = await plain(request);
    await withScheduler(bench, {}, async (scheduler) => {
      // The prompt holds the answer behind the ids that it begins with.
      const echo = { ...request, tokens: [...request.tokens, ...expected, ...request.tokens] };
      const { tokens, end } = await answer(scheduler, { ...echo, speculation: always('ngram') });
      expect(tokens).toEqual(await plain(echo));
      expect(end.speculation!.speculationSteps).toBeGreaterThan(0);
      const distinct = { tokens: [1, 2, 3], maxTokens: 1, speculation: always('ngram') };
      const before = scheduler.stats();
      expect((await answer(scheduler, distinct)).end.speculation!.draftedTokens).toBe(0);
      expect(scheduler.stats().submissions - before.submissions).toBe(1);
    });
  });

  it('never guesses past a stop id, the last token or the context', async () => {
    const request = { tokens: promptOf(9), sampling: greedy };
    const expected = await plain({ ...request, maxTokens: 40 });
    for (const maxTokens of [1, 2, 3, 7]) {
      await withScheduler(bench, { contextLength: 20 }, async (scheduler) => {
        const { tokens, end } = await answer(scheduler, {
          ...request,
          maxTokens,
          speculation: always(whole),
        });
        expect(tokens).toEqual(expected.slice(0, maxTokens));
        expect(end.speculation!.draftedTokens).toBe(maxTokens - (maxTokens > 1 ? 2 : 1));
      });
    }
    await withScheduler(bench, { contextLength: 20 }, async (scheduler) => {
      const { tokens } = await answer(scheduler, { ...request, speculation: always(whole, 16) });
      expect(tokens).toEqual(expected.slice(0, 11));
    });
    const stop = expected[6]!;
    const last = expected.indexOf(stop);
    await withScheduler(bench, {}, async (scheduler) => {
      const { tokens, end } = await answer(scheduler, {
        ...request,
        stopIds: [stop],
        speculation: always(whole, 16),
      });
      expect(tokens).toEqual(expected.slice(0, last + 1));
      expect(end).toMatchObject({ finishReason: 'stop', speculation: { draftedTokens: last } });
    });
  });

  it('asks a mask about prefixes only, keeps to it, and lets one fail only where it is reached', async () => {
    const request = { tokens: promptOf(9), maxTokens: 20, sampling: drawn, mask: parity };
    const expected = await plain(request);
    for (const draft of [half, whole, 'ngram'] as const) {
      await withScheduler(bench, {}, async (scheduler) => {
        const reused = new Int32Array(2);
        const seen: number[][] = [];
        const { tokens } = await answer(scheduler, {
          ...request,
          // As a grammar may do it: one array for all answers.
          mask(generated) {
            seen.push([...generated]);
            const words = parity(generated);
            if (!words) return undefined;
            reused.set(words);
            return reused;
          },
          speculation: always(draft, 6),
        });
        expect(tokens).toEqual(expected);
        for (const generated of seen) {
          generated.forEach((id, at) => {
            const words = parity(generated.slice(0, at));
            expect(words === undefined || ((words[id >>> 5]! >>> (id & 31)) & 1) === 1).toBe(true);
          });
        }
      });
    }
    await withScheduler(bench, {}, async (scheduler) => {
      const free = await plain({ ...request, mask: undefined });
      const fragile = (generated: readonly number[]): Int32Array | undefined => {
        if (generated.some((id, at) => id !== free[at])) throw new Error('no such text');
        return undefined;
      };
      const wrong = { ...request, mask: fragile, speculation: always({ feedForward: [4, 4], skip: [] }, 6) };
      expect((await answer(scheduler, wrong)).tokens).toEqual(free);
      const dead = (generated: readonly number[]): Int32Array =>
        new Int32Array(2).fill(generated.length < 5 ? -1 : 0);
      const seen: number[] = [];
      const failing = scheduler.generate({ ...request, mask: dead, speculation: always(whole, 6) });
      await expect(
        (async () => {
          for await (const event of failing) if (event.kind === 'token') seen.push(event.token);
        })(),
      ).rejects.toMatchObject({ code: 'usage/mask' });
      expect(seen).toEqual(free.slice(0, 5));
    });
  });

  it('takes memory from nobody for a guess', async () => {
    const requests = [0, 1].map((salt): GenerateRequest => ({
      tokens: promptOf(8, salt),
      maxTokens: 17,
      sampling: greedy,
      speculation: always(half, 16),
    }));
    const expected = [await plain(requests[0]!), await plain(requests[1]!)];
    // Room for exactly both, to the last token.
    await withScheduler(bench, { maxSequences: 2, kvTokens: 48 }, async (scheduler) => {
      const answers = await Promise.all(requests.map((request) => answer(scheduler, request)));
      expect(answers.map(({ tokens }) => tokens)).toEqual(expected);
      expect(scheduler.stats().preemptions).toBe(0);
    });
  });

  it('draws from the distribution of the own size, whatever guesses', async () => {
    const tokens = promptOf(7);
    const temperature = 1.5;
    const softmax = (logits: Float32Array): number[] => {
      const weights = Array.from(logits, (logit) => Math.exp(logit / temperature));
      const total = weights.reduce((a, b) => a + b);
      return weights.map((weight) => weight / total);
    };
    const { vocabularySize } = bench.model;
    await withScheduler(bench, { maxSequences: 8, kvTokens: 800 }, async (scheduler) => {
      const quarter = { feedForward: [4, 4], skip: [] };
      const rowsOf = async (sequence: number[], size?: typeof quarter): Promise<number[]> => {
        const [result] = await scheduler.forward([sequence], { logits: 'all', size });
        return softmax(result!.logits!.subarray(-vocabularySize));
      };
      // The second token is the first that is guessed: the chance of each, over all first tokens.
      const first = await rowsOf(tokens);
      const secondBy = async (size?: typeof quarter): Promise<number[]> => {
        const second = new Array<number>(vocabularySize).fill(0);
        for (let id = 0; id < vocabularySize; id++) {
          const chances = await rowsOf([...tokens, id], size);
          chances.forEach((chance, next) => (second[next]! += first[id]! * chance));
        }
        return second;
      };
      const draws = 4000;
      const counts = new Array<number>(vocabularySize).fill(0);
      let accepted = 0;
      let drafted = 0;
      const speculation = always(quarter, 2);
      for (let seed = 0; seed < draws; seed += 8) {
        const answers = await Promise.all(
          Array.from({ length: 8 }, (_, i) =>
            answer(scheduler, {
              tokens,
              maxTokens: 3,
              sampling: { temperature, seed: seed + i },
              speculation,
            }),
          ),
        );
        for (const { tokens: sampled, end } of answers) {
          counts[sampled[1]!]!++;
          drafted += end.speculation!.draftedTokens;
          accepted += end.speculation!.acceptedTokens;
        }
      }
      expect(drafted).toBe(draws);
      expect(accepted).toBeGreaterThan(draws / 10);
      expect(accepted).toBeLessThan(draws);
      // Pearson's chi-square over the cells that expect 5 or more, the rest in one; and the value that a true hypothesis
      // exceeds once in a million times (Wilson and Hilferty 1931: 4.75 standard deviations). The seeds are fixed.
      const fit = (chances: readonly number[]): { statistic: number; bound: number } => {
        const cells = chances.map((chance, id) => [counts[id]!, chance * draws] as const);
        const rest = cells.filter(([, expected]) => expected < 5);
        const together = [0, 1].map((part) => rest.reduce((sum, cell) => sum + cell[part]!, 0));
        const kept = [...cells.filter(([, expected]) => expected >= 5), together as [number, number]].filter(
          ([, expected]) => expected > 0,
        );
        const statistic = kept.reduce(
          (sum, [count, expected]) => sum + (count - expected) ** 2 / expected,
          0,
        );
        const freedom = kept.length - 1;
        expect(freedom).toBeGreaterThan(8);
        const variance = 2 / (9 * freedom);
        return { statistic, bound: freedom * (1 - variance + 4.75 * Math.sqrt(variance)) ** 3 };
      };
      const own = fit(await secondBy());
      expect(own.statistic).toBeLessThan(own.bound);
      // And the test can tell: the draft's own distribution does not fit.
      const theirs = fit(await secondBy(quarter));
      expect(theirs.statistic).toBeGreaterThan(theirs.bound);
    });
  }, 120_000);

  it('survives a random workload with cancellations and early leavers', async () => {
    const random = randomNumbers(17);
    const between = (least: number, most: number): number =>
      least + Math.floor(random() * (most - least + 1));
    await withScheduler(
      bench,
      { maxSequences: 4, kvTokens: 110, prefillChunk: 24, maxQueued: 100 },
      async (scheduler) => {
        await Promise.all(
          Array.from({ length: 60 }, async (_, index) => {
            const cancel = new AbortController();
            const cancelAfter = random() < 0.3 ? between(0, 20) : Infinity;
            const leaveAfter = random() < 0.2 ? between(0, 10) : Infinity;
            if (cancelAfter === 0) cancel.abort();
            let seen = 0;
            for await (const event of scheduler.generate({
              tokens: promptOf(between(1, 40), index % 5),
              maxTokens: between(1, 30),
              sampling: drawn,
              signal: cancel.signal,
              speculation: [undefined, always('ngram', 9), always(half, 4), { draft: half }][index % 4],
            })) {
              scheduler.checkIntegrity();
              if (event.kind === 'end') break;
              if (++seen >= cancelAfter) cancel.abort();
              if (seen >= leaveAfter) break;
            }
          }),
        );
        expect(scheduler.stats()).toMatchObject({ running: 0, queued: 0 });
        scheduler.clearPrefixCache();
        for (const { freeBlocks, blocks } of scheduler.stats().kvGroups) expect(freeBlocks).toBe(blocks);
      },
    );
  });

  it('refuses what cannot be', async () => {
    await withScheduler(bench, {}, async (scheduler) => {
      const wrong: unknown[] = [
        { draft: 'nothing' },
        { draft: undefined },
        { draft: null },
        { draft: { feedForward: 3 } },
        ...[0, 17, 1.5, NaN, '3'].map((maxTokens) => ({ draft: 'ngram', maxTokens })),
        { draft: 'ngram', adaptive: 'yes' },
      ];
      for (const speculation of wrong) {
        const request = { tokens: [1], speculation } as GenerateRequest;
        expect(() => scheduler.generate(request)).toThrow(
          expect.objectContaining({ code: 'usage/speculation' }) as Error,
        );
        await expect(scheduler.prepare(request)).rejects.toMatchObject({ code: 'usage/speculation' });
      }
      const impossible = always({ feedForward: [99, 99], skip: [] });
      await expect(answer(scheduler, { tokens: [1, 2], speculation: impossible })).rejects.toMatchObject({
        code: 'usage/weight-view',
      });
    });
  });
});
