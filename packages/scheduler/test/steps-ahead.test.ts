/** Steps that are submitted before the tokens of those before them are known: no token changes, and nobody waits for long. */
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { UnicornError } from '@unicorn-exec/tensor';
import { Scheduler, type GenerateRequest, type SchedulerOptions } from '../src/index.js';
import { gate, nullBench, type NullBench, type Seen } from './null-bench.js';
import { runningAhead } from './running-ahead.js';
import { answer, promptOf } from './toy-answer.js';
import { randomNumbers, ToyModel, toyBench, type Bench } from './toy-model.js';

const drawn = { temperature: 1.2, topP: 0.95, presencePenalty: 0.3, repetitionPenalty: 1.1, seed: 3 };

describe('steps ahead', () => {
  let bench: Bench;
  beforeAll(async () => {
    const toy = await toyBench(new ToyModel());
    bench = { ...toy, device: runningAhead(toy.device) };
  });
  afterAll(() => bench.device.close());

  const withScheduler = async <T>(
    options: Partial<SchedulerOptions>,
    use: (scheduler: Scheduler) => Promise<T>,
  ): Promise<T> => {
    const before = bench.device.memory().bufferBytes;
    const scheduler = await Scheduler.create({ ...bench, kvDType: 'f32', blockTokens: 4, ...options });
    const result = await use(scheduler);
    scheduler.checkIntegrity();
    // An answer may end before what was computed in excess.
    await scheduler.close();
    for (const { reservedBlocks } of scheduler.stats().kvGroups) expect(reservedBlocks).toBe(0);
    expect(bench.device.memory().bufferBytes).toBe(before);
    return result;
  };

  it('changes no token, however sampled, in whatever company and memory', async () => {
    const request: fc.Arbitrary<GenerateRequest> = fc.record({
      tokens: fc
        .tuple(fc.integer({ min: 1, max: 30 }), fc.nat(6))
        .map(([count, salt]) => promptOf(count, salt)),
      maxTokens: fc.integer({ min: 1, max: 40 }),
      sampling: fc.oneof(
        fc.constant({ temperature: 0 }),
        fc.constant({ temperature: 0, logitBias: { 7: 1.5, 9: -2 } }),
        fc.nat(99).map((seed) => ({ ...drawn, seed })),
      ),
      stopIds: fc.uniqueArray(fc.nat(36), { maxLength: 3 }),
      size: fc.constantFrom(undefined, undefined, undefined, { feedForward: [8, 8], skip: [] }),
      speculation: fc.constantFrom(undefined, undefined, { draft: 'ngram' as const }),
    });
    const options = fc.record({
      maxSequences: fc.integer({ min: 1, max: 4 }),
      // At times too little for all of them, so that some are preempted.
      kvTokens: fc.integer({ min: 72, max: 200 }),
      prefillChunk: fc.integer({ min: 1, max: 40 }),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.array(request, { minLength: 1, maxLength: 5 }),
        options,
        async (requests, given) => {
          const tokens = (stepsAhead: number): Promise<number[][]> =>
            withScheduler({ ...given, stepsAhead }, (scheduler) =>
              Promise.all(requests.map(async (one) => (await answer(scheduler, one)).tokens)),
            );
          const expected = await tokens(0);
          for (const stepsAhead of [1, 2]) expect(await tokens(stepsAhead)).toEqual(expected);
        },
      ),
      { numRuns: 25 },
    );
  });

  it('keeps of a sequence what plain steps would keep', async () => {
    const tokens = promptOf(13);
    const request: GenerateRequest = { tokens, maxTokens: 20, sampling: drawn };
    const longest = await withScheduler({ stepsAhead: 0 }, (scheduler) => answer(scheduler, request));
    const stopIds = [longest.tokens.findLast((id, index) => longest.tokens.indexOf(id) === index)!];
    const kept = (stepsAhead: number): Promise<unknown> =>
      withScheduler({ stepsAhead }, async (scheduler) => {
        const { tokens: got, end } = await answer(scheduler, { ...request, stopIds });
        expect(end.finishReason).toBe('stop');
        const again = await answer(scheduler, { ...request, tokens: [...tokens, ...got, 1] });
        const { idleTokens, generatedTokens, reusedTokens, prefilledTokens } = scheduler.stats();
        expect(reusedTokens).toBeGreaterThan(13);
        return { got, again: again.tokens, idleTokens, generatedTokens, reusedTokens, prefilledTokens };
      });
    expect(await kept(2)).toEqual(await kept(0));
  });

  it('survives a random workload of requests, cancellations and early leavers', async () => {
    const random = randomNumbers(12);
    const between = (least: number, most: number): number =>
      least + Math.floor(random() * (most - least + 1));
    const options = { maxSequences: 4, kvTokens: 110, prefillChunk: 9, maxQueued: 100 };
    await withScheduler(options, async (scheduler) => {
      const base = promptOf(40, 2);
      const one = async (index: number): Promise<void> => {
        const cancel = new AbortController();
        const tokens = [...base.slice(0, between(0, 40)), ...promptOf(between(1, 20), index % 5)];
        const leaveAfter = random() < 0.2 ? between(0, 10) : Infinity;
        const cancelAfter = random() < 0.3 ? between(0, 20) : Infinity;
        let seen = 0;
        const request = { tokens, maxTokens: between(1, 30), sampling: drawn, signal: cancel.signal };
        for await (const event of scheduler.generate(request)) {
          scheduler.checkIntegrity();
          if (event.kind === 'end' || ++seen >= leaveAfter) break;
          if (seen >= cancelAfter) cancel.abort();
        }
      };
      // Each caller asks one thing after the other, so that at times few run and at times many.
      const callers = Array.from({ length: 6 }, async (_, caller) => {
        for (let index = 0; index < 10; index++) await one(caller + 6 * index);
      });
      await Promise.all(callers);
      await answer(scheduler, { tokens: [1], maxTokens: 1 });
      expect(scheduler.stats()).toMatchObject({ running: 0, queued: 0 });
      scheduler.clearPrefixCache();
      for (const { freeBlocks, blocks } of scheduler.stats().kvGroups) expect(freeBlocks).toBe(blocks);
    });
  });

  describe('on the null device', () => {
    /** Each token is the one before plus one. */
    const count = ({ inputs: { ids, rows }, sampled }: Seen): void =>
      rows!.forEach((row, i) => (sampled[i] = (ids![row]! + 1) % 37));

    const countingBench = async (options: Partial<SchedulerOptions> = {}): Promise<NullBench> => {
      const counting = await nullBench(options, new ToyModel(), true);
      counting.hook = count;
      return counting;
    };

    const finished = async ({ scheduler }: NullBench): Promise<void> => {
      expect(scheduler.stats()).toMatchObject({ running: 0, queued: 0 });
      scheduler.checkIntegrity();
      await scheduler.close();
    };

    it('hands ids from step to step on the device, from the prompt on', async () => {
      const counting = await countingBench();
      const { tokens } = await answer(counting.scheduler, { tokens: [4, 5, 6], maxTokens: 9 });
      expect(tokens).toEqual([7, 8, 9, 10, 11, 12, 13, 14, 15]);
      const { seen } = counting;
      expect(seen.map(({ follows }) => follows)).toEqual([false, ...Array(8).fill(true)]);
      expect(seen.map(({ inputs }) => inputs.positions!.at(-1))).toEqual([2, 3, 4, 5, 6, 7, 8, 9, 10]);
      await finished(counting);
    });

    it('does not wait for a step before it submits the next ones', async () => {
      const counting = await countingBench();
      const { scheduler } = counting;
      await answer(scheduler, { tokens: promptOf(3), maxTokens: 9 });
      const before = counting.seen.length;
      const barrier = gate();
      counting.hook = async (seen) => {
        await barrier.wait();
        count(seen);
      };
      const answered = answer(scheduler, { tokens: promptOf(7), maxTokens: 9 });
      await barrier.reached;
      // The steps before were short.
      expect(scheduler.stats().submissions - before).toBe(3);
      expect(counting.seen.length - before).toBe(1);
      barrier.open();
      await answered;
      await finished(counting);
    });

    it('drops what was computed behind a stop id', async () => {
      const counting = await countingBench();
      const { tokens, end } = await answer(counting.scheduler, { tokens: [4], stopIds: [9], maxTokens: 30 });
      expect(tokens).toEqual([5, 6, 7, 8, 9]);
      expect(end).toMatchObject({ finishReason: 'stop', usage: { completionTokens: 5 } });
      await answer(counting.scheduler, { tokens: [3], maxTokens: 1, reuse: 'none' });
      const behind = counting.seen.filter(({ inputs }) => inputs.positions![0]! > 4).length;
      expect(behind).toBeGreaterThan(0);
      expect(behind).toBeLessThanOrEqual(2);
      expect(counting.scheduler.stats().generatedTokens).toBe(6);
      await finished(counting);
    });

    it('takes up a new request once the steps in flight have ended', async () => {
      const counting = await countingBench({ maxSequences: 2, kvTokens: 192 });
      const { scheduler, seen } = counting;
      const barrier = gate();
      counting.hook = async (step) => {
        if (seen.length === 6) await barrier.wait();
        count(step);
      };
      const first = answer(scheduler, { tokens: promptOf(3), maxTokens: 60 });
      await barrier.reached;
      const second = answer(scheduler, { tokens: promptOf(5, 1), maxTokens: 4 });
      barrier.open();
      expect((await second).tokens.length).toBe(4);
      const joined = seen.findIndex(({ dims }) => dims.sequences === 2);
      expect(joined).toBeGreaterThan(5);
      expect(joined).toBeLessThanOrEqual(8);
      expect(seen[joined]!.follows).toBe(false);
      expect((await first).tokens.length).toBe(60);
      await finished(counting);
    });

    it('goes on while a request waits for memory', async () => {
      const counting = await countingBench({ maxSequences: 2, kvTokens: 96, contextLength: 96 });
      const [first, second] = await Promise.all([
        answer(counting.scheduler, { tokens: promptOf(60), maxTokens: 20 }),
        answer(counting.scheduler, { tokens: promptOf(50, 1), maxTokens: 2 }),
      ]);
      expect([first.tokens.length, second.tokens.length]).toEqual([20, 2]);
      expect(counting.seen.filter(({ follows }) => follows).length).toBeGreaterThanOrEqual(19);
      await finished(counting);
    });

    it('waits for each token where a mask depends on it', async () => {
      const counting = await countingBench();
      await answer(counting.scheduler, { tokens: [1, 2], maxTokens: 9, mask: () => undefined });
      expect(counting.seen.some(({ follows }) => follows)).toBe(false);
      await finished(counting);
    });

    it('ends a cancelled request at once and frees its memory when the steps in flight have ended', async () => {
      const counting = await countingBench();
      const { scheduler, seen } = counting;
      const barrier = gate();
      counting.hook = async (step) => {
        if (seen.length === 5) await barrier.wait();
        count(step);
      };
      const cancel = new AbortController();
      const first = answer(scheduler, { tokens: promptOf(3), signal: cancel.signal });
      await barrier.reached;
      cancel.abort();
      const { tokens, end } = await first;
      expect(end.finishReason).toBe('cancelled');
      expect(tokens.length).toBeLessThanOrEqual(4);
      expect(scheduler.stats().running).toBe(1);
      barrier.open();
      await answer(scheduler, { tokens: promptOf(3, 1), maxTokens: 2 });
      expect(seen.length).toBeLessThanOrEqual(5 + 2 + 2);
      await finished(counting);
    });

    it('fails a request once when a step fails that others follow, and serves the next', async () => {
      const counting = await countingBench({ maxSequences: 2, kvTokens: 192 });
      const { scheduler, seen } = counting;
      counting.hook = (step) => {
        if (seen.length === 5) throw new UnicornError('device/lost', 'The device fell off the bus.');
        count(step);
      };
      await expect(answer(scheduler, { tokens: promptOf(3), maxTokens: 20 })).rejects.toMatchObject({
        code: 'device/lost',
      });
      expect((await answer(scheduler, { tokens: promptOf(3), maxTokens: 5 })).tokens.length).toBe(5);
      await finished(counting);
    });

    it('closes with steps in flight', async () => {
      const counting = await countingBench();
      const barrier = gate();
      counting.hook = barrier.wait;
      const answered = answer(counting.scheduler, { tokens: promptOf(3) });
      await barrier.reached;
      const closing = counting.scheduler.close();
      expect((await answered).end.finishReason).toBe('cancelled');
      barrier.open();
      await closing;
    });
  });

  it('refuses a number of steps that it does not have', async () => {
    for (const stepsAhead of [-1, 3, 0.5, NaN]) {
      await expect(nullBench({ stepsAhead })).rejects.toMatchObject({ code: 'usage/scheduler-option' });
    }
  });
});
