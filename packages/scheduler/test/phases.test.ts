/**
 * A device whose prompts are other bits than its answers: the program of a token is chosen by its position and nothing
 * else, so a request gets the same tokens in any company, after a preemption, a prefix hit and in any chunks.
 */
import fc from 'fast-check';
import { createNullBackend, type Phase } from '@unicorn-exec/tensor';
import { describe, expect, it } from 'vitest';
import { Scheduler, type GenerateRequest, type SchedulerOptions } from '../src/index.js';
import { gate } from './null-bench.js';
import { runningAhead } from './running-ahead.js';
import { answer, promptOf } from './toy-answer.js';
import { ToyModel, toyBench } from './toy-model.js';
import { roundedWeight, twoPhaseBench, twoPhaseDevice, type TwoPhaseOptions } from './two-phase.js';

const greedy = { temperature: 0 };
const drawn = { temperature: 1.2, topP: 0.95, presencePenalty: 0.3, repetitionPenalty: 1.1 };

interface Setup extends TwoPhaseOptions {
  readonly model?: ToyModel;
  readonly ahead?: boolean;
}

async function withScheduler<T>(
  options: Partial<SchedulerOptions>,
  use: (scheduler: Scheduler) => Promise<T>,
  { model, ahead = false, ...two }: Setup = {},
): Promise<T> {
  const bench = await twoPhaseBench(model, two);
  const device = ahead ? runningAhead(bench.device) : bench.device;
  const before = device.memory().bufferBytes;
  const scheduler = await Scheduler.create({ ...bench, device, kvDType: 'f32', blockTokens: 4, ...options });
  const result = await use(scheduler);
  scheduler.checkIntegrity();
  await scheduler.close();
  for (const { reservedBlocks } of scheduler.stats().kvGroups) expect(reservedBlocks).toBe(0);
  expect(device.memory().bufferBytes).toBe(before);
  await device.close();
  return result;
}

/** What a request gets when it has the scheduler for itself. */
function alone(request: GenerateRequest, setup?: Setup): Promise<number[]> {
  return withScheduler({}, async (scheduler) => (await answer(scheduler, request)).tokens, setup);
}

function requestsOf(count: number, promptTokens: number, maxTokens: number): GenerateRequest[] {
  return Array.from({ length: count }, (_, salt) => ({
    tokens: promptOf(promptTokens + 3 * salt, salt),
    maxTokens,
    sampling: salt % 2 ? { ...drawn, seed: 100 + salt } : greedy,
  }));
}

async function all(scheduler: Scheduler, requests: readonly GenerateRequest[]): Promise<number[][]> {
  const answers = await Promise.all(requests.map((request) => answer(scheduler, request)));
  return answers.map(({ tokens }) => tokens);
}

describe('a device with a class of bits for each phase', () => {
  it('computes what neither class alone gives', async () => {
    const request = { tokens: promptOf(23), maxTokens: 20, sampling: greedy };
    const both = await alone(request);
    const { model, device } = await toyBench();
    for (const entries of [model.weights, model.weights.map(roundedWeight)]) {
      const weights = await device.load(entries);
      const scheduler = await Scheduler.create({ model, device, weights, kvDType: 'f32' });
      expect((await answer(scheduler, request)).tokens).not.toEqual(both);
      await scheduler.close();
    }
    await device.close();
  });

  it('gives the same tokens alone and in company, in any chunks', async () => {
    const requests = requestsOf(5, 9, 22);
    const expected = await Promise.all(requests.map((request) => alone(request)));
    for (const prefillChunk of [1, 5, 23, 512]) {
      for (const ahead of [false, true]) {
        const got = await withScheduler(
          { maxSequences: 4, kvTokens: 400, prefillChunk },
          (scheduler) => all(scheduler, requests),
          { ahead },
        );
        expect(got).toEqual(expected);
      }
    }
  });

  it('gives the same tokens after preemptions: what was generated is computed again as generated', async () => {
    const requests = requestsOf(3, 9, 40);
    const expected = await Promise.all(requests.map((request) => alone(request)));
    for (const reuse of ['exact', 'none'] as const) {
      await withScheduler({ maxSequences: 3, kvTokens: 64 }, async (scheduler) => {
        expect(
          await all(
            scheduler,
            requests.map((request) => ({ ...request, reuse })),
          ),
        ).toEqual(expected);
        expect(scheduler.stats().preemptions).toBeGreaterThan(0);
      });
    }
  });

  it('gives the same tokens after a prefix hit, and reuses no answer as if it were a prompt', async () => {
    const setup = { model: new ToyModel([undefined, undefined]) };
    const tokens = promptOf(21);
    const first = { tokens, maxTokens: 12, sampling: greedy };
    const expected = await alone(first, setup);
    const turn = { tokens: [...tokens, ...expected, ...promptOf(5, 3)], maxTokens: 12, sampling: greedy };
    const expectedTurn = await alone(turn, setup);
    await withScheduler(
      { kvTokens: 192 },
      async (scheduler) => {
        // The first as it was, again from what it left, a turn that goes on from there, and that one again.
        for (const [request, tokens, cached] of [
          [first, expected, 0],
          [first, expected, 20],
          [turn, expectedTurn, 20],
          [turn, expectedTurn, 36],
        ] as const) {
          const { tokens: got, end } = await answer(scheduler, request);
          expect(got).toEqual(tokens);
          expect(end.usage.cachedPromptTokens).toBe(cached);
        }
      },
      setup,
    );
  });

  it('continues from an answer of another class where the request allows it', async () => {
    const tokens = promptOf(21);
    await withScheduler({}, async (scheduler) => {
      const { tokens: generated } = await answer(scheduler, { tokens, maxTokens: 12, sampling: greedy });
      const turn = { tokens: [...tokens, ...generated, 5, 6], maxTokens: 3, reuse: 'sameSize' as const };
      expect((await answer(scheduler, turn)).end.usage.cachedPromptTokens).toBe(21 + 11);
    });
  });

  it('chooses the program by the position alone', async () => {
    const seen: { phase: Phase; positions: readonly number[] }[] = [];
    const requests = requestsOf(4, 10, 30).map((request) => ({ ...request, tokens: promptOf(11, 2) }));
    await withScheduler(
      { maxSequences: 3, kvTokens: 96, prefillChunk: 7 },
      async (scheduler) => {
        await all(scheduler, requests);
        expect(scheduler.stats().preemptions).toBeGreaterThan(0);
        for (const { phase, positions } of seen.splice(0)) {
          for (const position of positions) expect(phase).toBe(position < 11 ? 'prompt' : 'token');
        }
        // What is scored is a prompt from end to end.
        await scheduler.forward([promptOf(20, 3)], { logits: 'all' });
        expect(seen.map(({ phase }) => phase)).toEqual(['prompt', 'prompt', 'prompt']);
      },
      { onSubmit: (phase, positions) => seen.push({ phase, positions }) },
    );
  });

  it('guesses ahead and changes no token', async () => {
    const speculation = { draft: 'ngram' as const, adaptive: false };
    const slice = { draft: { feedForward: [8, 8], skip: [] }, adaptive: false, maxTokens: 3 };
    const requests = requestsOf(4, 9, 25).map((request, i) => ({
      ...request,
      speculation: i < 2 ? speculation : slice,
    }));
    const expected = await Promise.all(requests.map(({ speculation: _, ...request }) => alone(request)));
    await withScheduler({ maxSequences: 3, kvTokens: 150, prefillChunk: 6 }, async (scheduler) => {
      await scheduler.prepare({ speculation: slice });
      expect(await all(scheduler, requests)).toEqual(expected);
      expect(scheduler.stats().draftedTokens).toBeGreaterThan(0);
    });
  });

  it('changes no token in whatever company, memory and rows', async () => {
    const request: fc.Arbitrary<GenerateRequest> = fc.record({
      tokens: fc
        .tuple(fc.integer({ min: 1, max: 30 }), fc.nat(3))
        .map(([count, salt]) => promptOf(count, salt)),
      maxTokens: fc.integer({ min: 1, max: 40 }),
      sampling: fc.oneof(
        fc.constant(greedy),
        fc.nat(99).map((seed) => ({ ...drawn, seed })),
      ),
      size: fc.constantFrom(undefined, undefined, { feedForward: [8, 8], skip: [] }),
      speculation: fc.constantFrom(undefined, undefined, { draft: 'ngram' as const }),
    });
    const options = fc.record({
      maxSequences: fc.integer({ min: 1, max: 4 }),
      // At times too little for all of them, so that some are preempted.
      kvTokens: fc.integer({ min: 72, max: 200 }),
      prefillChunk: fc.integer({ min: 1, max: 40 }),
    });
    const setup = fc.record({
      rows: fc.constantFrom(
        { kind: 'any' } as const,
        { kind: 'grain', grain: 8 } as const,
        { kind: 'buckets', buckets: [4, 32] } as const,
      ),
      ahead: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.array(request, { minLength: 1, maxLength: 5 }),
        options,
        setup,
        async (requests, chosen, two) => {
          const expected: number[][] = [];
          for (const { speculation: _, ...one } of requests) expected.push(await alone(one));
          const got = await withScheduler(
            chosen,
            async (scheduler) => [await all(scheduler, requests), await all(scheduler, requests)],
            two,
          );
          expect(got).toEqual([expected, expected]);
        },
      ),
      { numRuns: 8 },
    );
  });
});

describe('two runners', () => {
  /** Two null devices, whose submissions can be held. */
  const held = async (
    options: Partial<SchedulerOptions>,
  ): Promise<{ scheduler: Scheduler; hooks: Record<Phase, () => void | Promise<void>> }> => {
    const hooks: Record<Phase, () => void | Promise<void>> = { prompt: () => {}, token: () => {} };
    const [prompt, token] = await Promise.all(
      (['prompt', 'token'] as const).map((phase) =>
        createNullBackend({ onSubmit: () => hooks[phase]() }).open(),
      ),
    );
    const device = twoPhaseDevice(prompt!, token!);
    const model = new ToyModel();
    const weights = await device.load(model.weights);
    return {
      hooks,
      scheduler: await Scheduler.create({ device, weights, model, blockTokens: 4, ...options }),
    };
  };

  it('goes on with answers while a prompt is on another device', async () => {
    const { scheduler, hooks } = await held({ maxSequences: 3, kvTokens: 288 });
    const first = scheduler.generate({ tokens: promptOf(5), maxTokens: 60 });
    await first.next();
    const barrier = gate();
    hooks.prompt = barrier.wait;
    const second = answer(scheduler, { tokens: promptOf(30, 1), maxTokens: 3 });
    await barrier.reached;
    let tokens = 1;
    for await (const event of first) tokens += event.kind === 'token' ? 1 : 0;
    expect(tokens).toBe(60);
    // Whoever comes is admitted although a runner is busy.
    const third = answer(scheduler, { tokens: promptOf(4, 2), maxTokens: 3 });
    await new Promise((resolve) => setTimeout(resolve, 5));
    expect(scheduler.stats()).toMatchObject({ running: 2, queued: 0 });
    barrier.open();
    expect((await second).tokens.length).toBe(3);
    expect((await third).tokens.length).toBe(3);
    scheduler.checkIntegrity();
    await scheduler.close();
  });

  it('takes memory from whom a device works for only when that has ended', async () => {
    const { scheduler, hooks } = await held({ maxSequences: 2, kvTokens: 48, contextLength: 48 });
    const first = scheduler.generate({ tokens: promptOf(8), maxTokens: 40 });
    await first.next();
    const barrier = gate();
    hooks.prompt = barrier.wait;
    const second = answer(scheduler, { tokens: promptOf(36, 1), maxTokens: 2 });
    await barrier.reached;
    // The first grows until there is no block left.
    await new Promise((resolve) => setTimeout(resolve, 20));
    scheduler.checkIntegrity();
    expect(scheduler.stats()).toMatchObject({ preemptions: 0, running: 2 });
    barrier.open();
    let tokens = 1;
    for await (const event of first) tokens += event.kind === 'token' ? 1 : 0;
    expect(tokens).toBe(40);
    expect((await second).tokens.length).toBe(2);
    expect(scheduler.stats().preemptions).toBeGreaterThan(0);
    scheduler.checkIntegrity();
    await scheduler.close();
  });

  it('fails only the jobs of a runner that fails', async () => {
    const { scheduler, hooks } = await held({ maxSequences: 2, kvTokens: 192 });
    const first = scheduler.generate({ tokens: promptOf(5), maxTokens: 30 });
    await first.next();
    hooks.prompt = () => {
      throw new Error('no');
    };
    await expect(answer(scheduler, { tokens: promptOf(9, 1), maxTokens: 3 })).rejects.toThrow('no');
    let tokens = 1;
    for await (const event of first) tokens += event.kind === 'token' ? 1 : 0;
    expect(tokens).toBe(30);
    scheduler.checkIntegrity();
    await scheduler.close();
  });

  it('closes while both are busy', async () => {
    const { scheduler, hooks } = await held({ maxSequences: 2, kvTokens: 192 });
    const barriers = { prompt: gate(), token: gate() };
    const first = scheduler.generate({ tokens: promptOf(5), maxTokens: 30 });
    await first.next();
    Object.assign(hooks, { prompt: barriers.prompt.wait, token: barriers.token.wait });
    const second = answer(scheduler, { tokens: promptOf(9, 1), maxTokens: 3 });
    await Promise.all([barriers.prompt.reached, barriers.token.reached]);
    const closing = scheduler.close();
    expect((await second).end.finishReason).toBe('cancelled');
    barriers.prompt.open();
    barriers.token.open();
    await closing;
    scheduler.checkIntegrity();
  });
});
