/** What the step loop submits, and what it does when things go wrong: on the null device, which computes nothing. */
import { getEventListeners } from 'node:events';
import { describe, expect, it } from 'vitest';
import { sampleControls, UnicornError } from '@unicorn-exec/tensor';
import type { GenerateRequest, SchedulerOptions } from '../src/index.js';
import { gate, nullBench, type NullBench } from './null-bench.js';
import { answer, promptOf } from './toy-answer.js';

describe('the step loop', () => {
  it('submits decode tokens first, then a chunk of the prompt, as one ragged step', async () => {
    const { scheduler, seen } = await nullBench({ maxSequences: 2, prefillChunk: 5, kvTokens: 96 });
    const [a, b] = [promptOf(6), promptOf(7, 1)];
    await Promise.all([
      answer(scheduler, { tokens: a, maxTokens: 4 }),
      answer(scheduler, { tokens: b, maxTokens: 2 }),
    ]);
    const shape = seen.map(({ dims, inputs }) => ({
      ids: inputs.ids,
      positions: inputs.positions,
      starts: inputs.starts,
      rows: inputs.rows,
      outputs: dims.outputs,
      blocks: dims.blocks,
    }));
    // Tables are as wide as the longest context of 96: few positions make no difference to what is submitted.
    const columns = 24;
    expect(shape).toEqual([
      { ids: a.slice(0, 5), positions: [0, 1, 2, 3, 4], starts: [0], rows: [], outputs: 0, blocks: columns },
      {
        ids: [a[5], ...b.slice(0, 4)],
        positions: [5, 0, 1, 2, 3],
        starts: [0, 1],
        rows: [0],
        outputs: 1,
        blocks: columns,
      },
      {
        ids: [0, ...b.slice(4)],
        positions: [6, 4, 5, 6],
        starts: [0, 1],
        rows: [0, 3],
        outputs: 2,
        blocks: columns,
      },
      { ids: [0, 0], positions: [7, 7], starts: [0, 1], rows: [0, 1], outputs: 2, blocks: columns },
      { ids: [0], positions: [8], starts: [0], rows: [0], outputs: 1, blocks: columns },
    ]);
    await scheduler.close();
  });

  it('stores tokens in the blocks of their own tables, and lets what left a window point to the sink', async () => {
    const { scheduler, seen } = await nullBench({ maxSequences: 2, prefillChunk: 9, kvTokens: 96 });
    await Promise.all([0, 1].map((salt) => answer(scheduler, { tokens: promptOf(14, salt), maxTokens: 9 })));
    for (const { dims, inputs } of seen) {
      for (const group of ['full', 'window5']) {
        const written = new Set<number>();
        for (let row = 0, sequence = -1; row < dims.tokens!; row++) {
          if (inputs.starts![sequence + 1] === row) sequence++;
          const position = inputs.positions![row]!;
          const block = inputs[`blocks.${group}`]![sequence * dims.blocks! + Math.floor(position / 4)]!;
          expect(block).toBeGreaterThan(0);
          expect(inputs[`slots.${group}`]![row]).toBe(block * 4 + (position % 4));
          written.add(inputs[`slots.${group}`]![row]!);
        }
        expect(written.size).toBe(dims.tokens);
      }
    }
    const last = seen.at(-1)!;
    const held = Math.ceil((Math.max(...last.inputs.positions!) + 1) / 4);
    expect(last.inputs['blocks.window5']!.slice(0, 4)).toEqual([0, 0, 0, 0]);
    expect(last.inputs['blocks.full']!.slice(0, held).every((block) => block > 0)).toBe(true);
    expect(last.inputs['blocks.full']!.slice(held, last.dims.blocks).some((block) => block > 0)).toBe(false);
    await scheduler.close();
  });

  it('tells the sampler where each token stands', async () => {
    const bench = await nullBench();
    bench.hook = ({ sampled }) => void sampled.fill(9);
    const sampling = { seed: 2 ** 32 + 5, topK: 3, logitBias: { 4: 1.5, 6: -1 } };
    const { tokens } = await answer(bench.scheduler, { tokens: promptOf(3), maxTokens: 3, sampling });
    expect(tokens).toEqual([9, 9, 9]);
    const controls = bench.seen.map(({ inputs }) =>
      Object.fromEntries(sampleControls.map((name, index) => [name, inputs['sample.controls']![index]])),
    );
    expect(controls).toEqual(
      [3, 4, 5].map((length) => ({
        topK: 3,
        seedLow: 5,
        seedHigh: 1,
        position: length,
        historyRow: 0,
        historyLength: length,
        promptLength: 3,
      })),
    );
    expect(bench.seen[0]!.inputs['sample.biasIds']).toEqual([4, 6]);
    expect(bench.seen[0]!.inputs['sample.biasValues']).toEqual([1.5, -1]);
    await bench.scheduler.close();
  });

  it('makes one submission for each size in the step', async () => {
    const { scheduler, seen } = await nullBench({ maxSequences: 3, kvTokens: 200 });
    const size = { feedForward: [4, 4], skip: [] };
    await Promise.all(
      [undefined, size, undefined].map((chosen, salt) =>
        answer(scheduler, { tokens: promptOf(5, salt), maxTokens: 2, size: chosen }),
      ),
    );
    expect(seen.map(({ dims }) => dims.sequences)).toEqual([2, 1, 2, 1]);
    await scheduler.close();
  });

  it('admits in order, and lets a small request overtake a head that lacks memory', async () => {
    const { scheduler, seen } = await nullBench({ maxSequences: 3, kvTokens: 40, contextLength: 40 });
    await Promise.all(
      [30, 20, 4].map((length, salt) => answer(scheduler, { tokens: promptOf(length, salt), maxTokens: 1 })),
    );
    // The second does not fit beside the first; the third does.
    expect(seen.map(({ dims }) => dims.tokens)).toEqual([34, 20]);
    await scheduler.close();
  });

  it('lets no stream of small requests delay a head without bound, and none of a lower priority before it', async () => {
    const { scheduler } = await nullBench({
      maxSequences: 4,
      kvTokens: 40,
      contextLength: 40,
      maxQueued: 99,
    });
    const order: string[] = [];
    const ask = async (name: string, length: number, priority = 0): Promise<void> => {
      await answer(scheduler, { tokens: promptOf(length, order.length), maxTokens: 1, priority });
      order.push(name);
    };
    // While the first still decodes, one small request after the other comes and goes.
    const first = answer(scheduler, { tokens: promptOf(8), maxTokens: 33, priority: 2 });
    const head = ask('head', 39, 1);
    const low = ask('low', 2);
    const small = (async () => {
      for (let index = 0; index < 60; index++) await ask(`small ${index}`, 3, 1);
    })();
    await Promise.all([first, head, low, small]);
    // Thirteen of three tokens are as long as the head.
    expect(order.indexOf('head')).toBeGreaterThan(0);
    expect(order.indexOf('head')).toBeLessThanOrEqual(13);
    expect(order.indexOf('low')).toBeGreaterThan(order.indexOf('head'));
    scheduler.checkIntegrity();
    await scheduler.close();
  });

  it('cancels while queued, in prefill and in decode, at once, and frees everything', async () => {
    for (const phase of ['queued', 'prefill', 'decode'] as const) {
      const bench = await nullBench({ prefillChunk: 4 });
      const { scheduler } = bench;
      const barrier = gate();
      let submissions = 0;
      bench.hook = () => (++submissions === (phase === 'decode' ? 4 : 2) ? barrier.wait() : undefined);
      const cancel = new AbortController();
      const first = answer(scheduler, { tokens: promptOf(10), maxTokens: 9, signal: cancel.signal });
      const second = answer(scheduler, { tokens: promptOf(5, 1), maxTokens: 2 });
      const waiting = new AbortController();
      const third = answer(scheduler, { tokens: promptOf(6, 2), maxTokens: 2, signal: waiting.signal });
      await barrier.reached;
      if (phase === 'queued') {
        waiting.abort();
        expect((await third).end).toMatchObject({
          finishReason: 'cancelled',
          usage: { completionTokens: 0 },
        });
        expect(scheduler.stats().queued).toBe(1);
      } else {
        cancel.abort();
        // The answer ends although the device is still busy with it.
        const { tokens, end } = await first;
        expect(end.finishReason).toBe('cancelled');
        expect(tokens.length).toBe(phase === 'prefill' ? 0 : 1);
        expect(scheduler.stats().running).toBe(1);
      }
      barrier.open();
      expect((await second).end.finishReason).toBe('length');
      await Promise.all([first, third]);
      expect(scheduler.stats()).toMatchObject({ running: 0, queued: 0 });
      scheduler.checkIntegrity();
      await scheduler.close();
    }
  });

  it('ends at once for a signal that was aborted before, and leaves no listener on one that was not', async () => {
    const { scheduler, seen } = await nullBench();
    const { end } = await answer(scheduler, { tokens: promptOf(3), signal: AbortSignal.abort() });
    expect(end.finishReason).toBe('cancelled');
    expect(seen.length).toBe(0);
    const { signal } = new AbortController();
    for (let i = 0; i < 3; i++) await answer(scheduler, { tokens: promptOf(3), maxTokens: 2, signal });
    expect(getEventListeners(signal, 'abort').length).toBe(0);
    await scheduler.close();
  });

  it('takes a consumer that leaves for a cancellation', async () => {
    const { scheduler } = await nullBench();
    for await (const event of scheduler.generate({ tokens: promptOf(3) })) {
      if (event.kind === 'token') break;
    }
    await answer(scheduler, { tokens: promptOf(3), maxTokens: 1 });
    expect(scheduler.stats().running).toBe(0);
    expect(scheduler.stats().generatedTokens).toBeLessThan(10);
    await scheduler.close();
  });

  it('is not held up by a consumer that does not read', async () => {
    const { scheduler } = await nullBench({ maxSequences: 2, kvTokens: 200 });
    const unread = scheduler.generate({ tokens: promptOf(3), maxTokens: 50 });
    const { tokens } = await answer(scheduler, { tokens: promptOf(3, 1), maxTokens: 60 });
    expect(tokens.length).toBe(60);
    let events = 0;
    for await (const event of unread) events += event.kind === 'token' ? 1 : 100;
    expect(events).toBe(150);
    await scheduler.close();
  });

  it('rejects the requests of a failed submission and serves the next', async () => {
    const bench = await nullBench({ maxSequences: 2, kvTokens: 200 });
    const { scheduler } = bench;
    await answer(scheduler, { tokens: promptOf(9, 3), maxTokens: 1 });
    expect(scheduler.stats().idleSequences).toBe(1);
    const size = { feedForward: [4, 4], skip: [] };
    let failures = 0;
    bench.hook = () => {
      if (failures++ === 2) throw new UnicornError('device/lost', 'The device fell off the bus.');
    };
    const results = await Promise.allSettled([
      answer(scheduler, { tokens: promptOf(5), maxTokens: 5 }),
      answer(scheduler, { tokens: promptOf(5, 1), maxTokens: 5, size }),
    ]);
    expect(results[0]).toMatchObject({ status: 'rejected', reason: { code: 'device/lost' } });
    expect(results[1]).toMatchObject({ status: 'fulfilled' });
    scheduler.checkIntegrity();
    // What lay in the lost device's caches is not trusted.
    const { end } = await answer(scheduler, { tokens: [...promptOf(9, 3), 1], maxTokens: 5 });
    expect(end).toMatchObject({ finishReason: 'length', usage: { cachedPromptTokens: 0 } });
    await scheduler.close();
  });

  it('rejects a request whose size the model refuses, and no other', async () => {
    const { scheduler } = await nullBench({ maxSequences: 2, kvTokens: 200 });
    const [good, bad] = await Promise.allSettled([
      answer(scheduler, { tokens: promptOf(5), maxTokens: 3 }),
      answer(scheduler, { tokens: promptOf(5), maxTokens: 3, size: { feedForward: [99, 99], skip: [] } }),
    ]);
    expect(good).toMatchObject({ status: 'fulfilled' });
    expect(bad).toMatchObject({ status: 'rejected', reason: { code: 'usage/weight-view' } });
    scheduler.checkIntegrity();
    await scheduler.close();
  });

  it('does not pass on a token that does not exist', async () => {
    const bench = await nullBench();
    bench.hook = ({ sampled }) => void sampled.fill(-1);
    await expect(answer(bench.scheduler, { tokens: promptOf(5) })).rejects.toMatchObject({
      code: 'device/result',
    });
    await bench.scheduler.close();
  });

  it('refuses bad requests at once, with the facts', async () => {
    const { scheduler } = await nullBench({ contextLength: 20, kvTokens: 12, maxQueued: 2 });
    const refused = (request: Partial<GenerateRequest>): unknown => {
      try {
        void scheduler.generate({ tokens: promptOf(5), ...request });
      } catch (error) {
        return error;
      }
      return 'accepted';
    };
    expect(refused({ tokens: [] })).toMatchObject({ code: 'usage/prompt' });
    expect(refused({ tokens: promptOf(20) })).toMatchObject({
      code: 'usage/context',
      fields: { promptTokens: 20, contextLength: 20 },
    });
    for (const id of [-1, 37, 1.5, NaN, '3' as unknown as number]) {
      expect(refused({ tokens: [1, id] })).toMatchObject({ code: 'usage/token-id', fields: { index: 1 } });
    }
    for (const maxTokens of [0, -1, 1.5, NaN, Infinity]) {
      expect(refused({ maxTokens })).toMatchObject({ code: 'usage/max-tokens' });
    }
    expect(refused({ sampling: { topP: NaN } })).toMatchObject({ code: 'usage/sampling' });
    expect(refused({ maxTokens: 9 })).toMatchObject({
      code: 'resource/context',
      fields: { neededTokens: 13, availableTokens: 12 },
    });
    expect(refused({ tokens: promptOf(13) })).toMatchObject({ code: 'resource/context' });
    expect(refused({ maxTokens: 8 })).toBe('accepted');
    expect(refused({})).toBe('accepted');
    expect(refused({})).toBe('accepted');
    // One of the three is about to run, so two wait.
    expect(refused({})).toMatchObject({ code: 'resource/queue', fields: { queued: 3, maxQueued: 2 } });
    await scheduler.close();
  });

  it('refuses bad options', async () => {
    const create = (options: Partial<SchedulerOptions>): Promise<NullBench> => nullBench(options);
    for (const name of [
      'contextLength',
      'maxSequences',
      'prefillChunk',
      'blockTokens',
      'kvTokens',
      'maxQueued',
    ]) {
      await expect(create({ [name]: 0 })).rejects.toMatchObject({ code: 'usage/scheduler-option' });
    }
    await expect(create({ kvDType: 'q4_0' })).rejects.toMatchObject({ code: 'unsupported/kv-dtype' });
    await expect(create({ kvDType: 'q8_0' })).rejects.toMatchObject({ code: 'unsupported/kv-dtype' });
  });

  it('closes in the middle of everything, twice', async () => {
    const bench = await nullBench();
    const { scheduler } = bench;
    const barrier = gate();
    bench.hook = barrier.wait;
    const answers = [0, 1].map((salt) => answer(scheduler, { tokens: promptOf(5, salt) }));
    const scored = scheduler.forward([promptOf(4)], { logits: 'none' });
    scored.catch(() => {});
    await barrier.reached;
    const closing = scheduler.close();
    for (const { end } of await Promise.all(answers)) expect(end.finishReason).toBe('cancelled');
    await expect(scored).rejects.toMatchObject({ code: 'usage/cancelled' });
    barrier.open();
    await closing;
    await scheduler.close();
    expect(() => scheduler.generate({ tokens: [1] })).toThrow(/closed/);
    await expect(scheduler.forward([[1]], { logits: 'none' })).rejects.toThrow(/closed/);
    await expect(scheduler.prepare()).rejects.toThrow(/closed/);
  });

  it('reports times that add up', async () => {
    const { scheduler } = await nullBench();
    const { end } = await answer(scheduler, { tokens: promptOf(5), maxTokens: 4 });
    const { queueMs, prefillMs, decodeMs, firstTokenMs } = end.timings;
    expect(firstTokenMs).toBeCloseTo(queueMs + prefillMs, 6);
    for (const time of [queueMs, prefillMs, decodeMs]) expect(time).toBeGreaterThanOrEqual(0);
    await scheduler.close();
  });
});
