/** Generation on the reference backend: nothing that scheduling does may change a token. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Scheduler, type GenerateRequest, type SchedulerOptions } from '../src/index.js';
import { answer, promptOf } from './toy-answer.js';
import { randomNumbers, ToyModel, toyBench, type Bench } from './toy-model.js';

const greedy = { temperature: 0 };
const drawn = { temperature: 1.2, topP: 0.95, presencePenalty: 0.3, repetitionPenalty: 1.1 };
const prompt = promptOf(23);

describe('generate', () => {
  let bench: Bench;
  beforeAll(async () => {
    bench = await toyBench(new ToyModel());
  });
  afterAll(() => bench.device.close());

  const withScheduler = async (
    options: Partial<SchedulerOptions>,
    use: (scheduler: Scheduler) => Promise<void>,
  ): Promise<void> => {
    const before = bench.device.memory().bufferBytes;
    const scheduler = await Scheduler.create({
      ...bench,
      kvDType: 'f32',
      precision: 'f32',
      blockTokens: 4,
      ...options,
    });
    await use(scheduler);
    scheduler.checkIntegrity();
    await scheduler.close();
    expect(bench.device.memory().bufferBytes).toBe(before);
  };

  /** What a request gets when it has the scheduler for itself and nothing is reused. */
  const alone = async (request: GenerateRequest): Promise<number[]> => {
    let tokens: number[] = [];
    await withScheduler({}, async (scheduler) => {
      tokens = (await answer(scheduler, { ...request, reuse: 'none' })).tokens;
    });
    return tokens;
  };

  it('gives the same tokens in every chunking', async () => {
    const expected = await alone({ tokens: prompt, maxTokens: 20, sampling: greedy });
    expect(new Set(expected).size).toBeGreaterThan(4);
    for (const prefillChunk of [1, 5, 7, 22, 23]) {
      await withScheduler({ prefillChunk }, async (scheduler) => {
        const { tokens, end } = await answer(scheduler, { tokens: prompt, maxTokens: 20, sampling: greedy });
        expect(tokens).toEqual(expected);
        expect(end).toMatchObject({
          finishReason: 'length',
          usage: { promptTokens: 23, cachedPromptTokens: 0, completionTokens: 20 },
        });
        expect(scheduler.stats()).toMatchObject({
          prefilledTokens: 23,
          generatedTokens: 20,
          submissions: Math.ceil(23 / prefillChunk) + 19,
        });
      });
    }
  });

  it('gives the same tokens alone and in a batch, drawn ones too', async () => {
    const requests = [0, 1, 2, 3, 4, 5].map((salt): GenerateRequest => ({
      tokens: promptOf(3 + 6 * salt, salt),
      maxTokens: 24 - 3 * salt,
      sampling: salt % 2 ? { ...drawn, seed: 100 + salt } : greedy,
    }));
    const expected: number[][] = [];
    for (const request of requests) expected.push(await alone(request));
    await withScheduler({ maxSequences: 4, prefillChunk: 8, kvTokens: 400 }, async (scheduler) => {
      const answers = await Promise.all(requests.map((request) => answer(scheduler, request)));
      expect(answers.map(({ tokens }) => tokens)).toEqual(expected);
      const { steps, submissions, generatedTokens } = scheduler.stats();
      expect(submissions).toBe(steps);
      expect(steps).toBeLessThan(generatedTokens);
    });
  });

  it('gives the same tokens when the pool is too small for all, by starting the youngest again', async () => {
    const requests = [0, 1, 2].map((salt): GenerateRequest => ({
      tokens: promptOf(12, salt),
      maxTokens: 30,
      sampling: { ...drawn, seed: salt },
    }));
    const expected: number[][] = [];
    for (const request of requests) expected.push(await alone(request));
    await withScheduler({ maxSequences: 3, kvTokens: 48 }, async (scheduler) => {
      const answers = await Promise.all(requests.map((request) => answer(scheduler, request)));
      expect(answers.map(({ tokens }) => tokens)).toEqual(expected);
      expect(answers.map(({ end }) => end.usage.promptTokens)).toEqual([12, 12, 12]);
      expect(scheduler.stats().preemptions).toBeGreaterThan(0);
    });
  });

  it('prefills only what a later turn adds, and answers as if it had computed all', async () => {
    for (const windows of [[undefined], [undefined, 5], [5, 9, undefined], [7]]) {
      const own = await toyBench(new ToyModel(windows));
      const options = { ...own, kvDType: 'f32' as const, blockTokens: 4 };
      const scheduler = await Scheduler.create(options);
      const fresh = await Scheduler.create(options);
      let conversation = promptOf(17);
      for (const turn of [1, 2, 3]) {
        const request = { tokens: conversation, maxTokens: 7, sampling: { ...drawn, seed: turn } };
        const before = scheduler.stats();
        const { tokens, end } = await answer(scheduler, request);
        expect(tokens).toEqual((await answer(fresh, { ...request, reuse: 'none' })).tokens);
        // The last token of an answer was sampled but never computed.
        const known = turn === 1 ? 0 : conversation.length - 5 - 1;
        expect(end.usage.cachedPromptTokens).toBe(known);
        const { prefilledTokens, reusedTokens } = scheduler.stats();
        expect(prefilledTokens - before.prefilledTokens).toBe(conversation.length - known);
        expect(reusedTokens - before.reusedTokens).toBe(known);
        conversation = [...conversation, ...tokens, ...promptOf(5, turn)];
      }
      scheduler.checkIntegrity();
      await scheduler.close();
      await fresh.close();
      await own.device.close();
    }
  });

  it('answers as before when an earlier question is asked again or shares its beginning', async () => {
    const first = { tokens: prompt, maxTokens: 10, sampling: greedy };
    const second = { tokens: [...prompt.slice(0, 15), 1, 2, 3], maxTokens: 10, sampling: greedy };
    const expected = [await alone(first), await alone(second), await alone(first)];
    const own = await toyBench(new ToyModel([undefined, undefined]));
    const full = await Scheduler.create({ ...own, kvDType: 'f32', blockTokens: 4, kvTokens: 192 });
    const reference = await Scheduler.create({ ...own, kvDType: 'f32' });
    for (const request of [first, second, first]) {
      const { tokens } = await answer(full, request);
      expect(tokens).toEqual((await answer(reference, { ...request, reuse: 'none' })).tokens);
    }
    expect(full.stats().reusedTokens).toBe(12 + 20);
    await full.close();
    await reference.close();
    await own.device.close();
    await withScheduler({}, async (scheduler) => {
      const answers: number[][] = [];
      for (const request of [first, second, first]) answers.push((await answer(scheduler, request)).tokens);
      expect(answers).toEqual(expected);
    });
  });

  it('keeps only the window of a windowed layer', async () => {
    const model = new ToyModel([6, undefined], 37, 90);
    const own = await toyBench(model);
    const request = { tokens: promptOf(50), maxTokens: 40, sampling: greedy };
    const scheduler = await Scheduler.create({ ...own, kvDType: 'f32', blockTokens: 4, prefillChunk: 8 });
    const [windowed] = scheduler.plan.groups;
    expect(windowed!.blocks).toBe(1 + Math.ceil(6 / 4) + 2 + 8 / 4);
    const { tokens } = await answer(scheduler, request);
    // The same layers, but with a pool in which nothing ever leaves: the window wide, the attention the same.
    const wide = Object.assign(Object.create(model) as ToyModel, {
      kvGroups: model.kvGroups.map(({ window: _, ...group }) => group),
    });
    const reference = await Scheduler.create({ ...own, model: wide, kvDType: 'f32', prefillChunk: 50 });
    expect((await answer(reference, request)).tokens).toEqual(tokens);
    await Promise.all([scheduler.close(), reference.close()]);
    await own.device.close();
  });

  it('repeats a drawn answer with its seed, and draws another without', async () => {
    await withScheduler({}, async (scheduler) => {
      const request = { tokens: prompt, maxTokens: 30, sampling: { temperature: 2 } };
      const first = await answer(scheduler, request);
      const again = await answer(scheduler, {
        ...request,
        sampling: { temperature: 2, seed: first.end.seed },
      });
      const other = await answer(scheduler, request);
      expect(again.tokens).toEqual(first.tokens);
      expect(other.end.seed).not.toBe(first.end.seed);
      expect(other.tokens).not.toEqual(first.tokens);
    });
  });

  it('ends at a stop id and says so', async () => {
    const expected = await alone({ tokens: prompt, maxTokens: 20, sampling: greedy });
    const stop = expected[8]!;
    const absent = [...Array(37).keys()].find((id) => !expected.includes(id))!;
    await withScheduler({}, async (scheduler) => {
      const seen: [number, number, boolean][] = [];
      for await (const event of scheduler.generate({
        tokens: prompt,
        sampling: greedy,
        stopIds: [stop, absent],
      })) {
        if (event.kind === 'token') seen.push([event.token, event.position, event.stop]);
        else expect(event).toMatchObject({ finishReason: 'stop', usage: { completionTokens: seen.length } });
      }
      const last = expected.indexOf(stop);
      expect(seen).toEqual(expected.slice(0, last + 1).map((id, i) => [id, prompt.length + i, i === last]));
    });
  });

  it('fills the context and no more', async () => {
    await withScheduler({ contextLength: 40 }, async (scheduler) => {
      for (const maxTokens of [undefined, 1000]) {
        const { tokens, end } = await answer(scheduler, { tokens: prompt, maxTokens, sampling: greedy });
        expect(end.finishReason).toBe('length');
        expect(tokens.length).toBe(40 - prompt.length);
      }
      const { end } = await answer(scheduler, { tokens: promptOf(39), sampling: greedy });
      expect(end.usage.completionTokens).toBe(1);
    });
  });

  it('lets through what a mask allows, beside requests without one', async () => {
    const words = (allowed: readonly number[]): Int32Array => {
      const mask = new Int32Array(2);
      for (const id of allowed) mask[id >>> 5]! |= 1 << (id & 31);
      return mask;
    };
    const free = await alone({ tokens: prompt, maxTokens: 9, sampling: greedy });
    await withScheduler({ maxSequences: 3, kvTokens: 300 }, async (scheduler) => {
      const [masked, other] = await Promise.all([
        answer(scheduler, {
          tokens: prompt,
          maxTokens: 9,
          sampling: { temperature: 1 },
          // Odd and even by turns; the last token is free.
          mask: ({ length }) => (length === 8 ? undefined : words(length % 2 ? [1, 3, 35] : [2, 4, 36])),
        }),
        answer(scheduler, { tokens: prompt, maxTokens: 9, sampling: greedy }),
      ]);
      expect(masked.tokens.slice(0, 8).map((id) => id % 2)).toEqual([0, 1, 0, 1, 0, 1, 0, 1]);
      expect(other.tokens).toEqual(free);
      for (const mask of [(): Int32Array => new Int32Array(2), (): Int32Array => Int32Array.of(0, 1 << 6)]) {
        await expect(answer(scheduler, { tokens: prompt, mask })).rejects.toMatchObject({
          code: 'usage/mask',
        });
      }
      await expect(
        answer(scheduler, { tokens: prompt, mask: () => new Int32Array(3).fill(-1) }),
      ).rejects.toThrow(/3 words instead of 2/);
      expect((await answer(scheduler, { tokens: prompt, maxTokens: 9, sampling: greedy })).tokens).toEqual(
        free,
      );
    });
  });

  it('biases', async () => {
    await withScheduler({ maxSequences: 2, kvTokens: 192 }, async (scheduler) => {
      const [biased, plain] = await Promise.all([
        answer(scheduler, { tokens: prompt, maxTokens: 5, sampling: { ...greedy, logitBias: { 7: 100 } } }),
        answer(scheduler, { tokens: prompt, maxTokens: 5, sampling: greedy }),
      ]);
      expect(biased.tokens).toEqual([7, 7, 7, 7, 7]);
      expect(plain.tokens).toEqual(await alone({ tokens: prompt, maxTokens: 5, sampling: greedy }));
    });
  });

  it('runs several sizes at once over one set of weights', async () => {
    const half = { feedForward: [8, 4], skip: [] };
    const requests: GenerateRequest[] = [
      { tokens: prompt, maxTokens: 12, sampling: greedy },
      { tokens: prompt, maxTokens: 12, sampling: greedy, size: half },
    ];
    const expected = [await alone(requests[0]!), await alone(requests[1]!)];
    expect(expected[0]).not.toEqual(expected[1]);
    await withScheduler({ maxSequences: 2, kvTokens: 192 }, async (scheduler) => {
      await scheduler.prepare({ size: half });
      const answers = await Promise.all(requests.map((request) => answer(scheduler, request)));
      expect(answers.map(({ tokens }) => tokens)).toEqual(expected);
      const { steps, submissions } = scheduler.stats();
      expect(submissions).toBe(2 * steps);
      const mixed = { ...requests[1]!, tokens: [...prompt, ...answers[0]!.tokens, 1] };
      expect((await answer(scheduler, mixed)).end.usage.cachedPromptTokens).toBe(0);
      const kept = { ...mixed, tokens: [...mixed.tokens, 2], reuse: 'anySize' as const };
      expect((await answer(scheduler, kept)).end.usage.cachedPromptTokens).toBeGreaterThan(prompt.length);
    });
  });

  it('survives a random workload of requests, cancellations and early leavers', async () => {
    const random = randomNumbers(11);
    const between = (least: number, most: number): number =>
      least + Math.floor(random() * (most - least + 1));
    await withScheduler(
      { maxSequences: 4, kvTokens: 110, prefillChunk: 9, maxQueued: 100 },
      async (scheduler) => {
        const base = promptOf(40, 2);
        await Promise.all(
          Array.from({ length: 60 }, async (_, index) => {
            const cancel = new AbortController();
            const tokens = [...base.slice(0, between(0, 40)), ...promptOf(between(1, 20), index % 5)];
            const leaveAfter = random() < 0.2 ? between(0, 10) : Infinity;
            const cancelAfter = random() < 0.3 ? between(0, 20) : Infinity;
            if (cancelAfter === 0) cancel.abort();
            let seen = 0;
            const request = { tokens, maxTokens: between(1, 30), sampling: drawn, signal: cancel.signal };
            for await (const event of scheduler.generate(request)) {
              scheduler.checkIntegrity();
              if (event.kind === 'end') break;
              if (++seen >= cancelAfter) cancel.abort();
              if (seen >= leaveAfter) break;
            }
          }),
        );
        expect(scheduler.stats()).toMatchObject({ running: 0, queued: 0 });
        for (const { reservedBlocks } of scheduler.stats().kvGroups) expect(reservedBlocks).toBe(0);
        scheduler.clearPrefixCache();
        for (const { freeBlocks, blocks } of scheduler.stats().kvGroups) expect(freeBlocks).toBe(blocks);
      },
    );
  });
});
