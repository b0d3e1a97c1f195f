/** Requests that arrive together and begin alike: one computes the prefix, the others take it over. */
import { describe, expect, it } from 'vitest';
import { Scheduler, type GenerateRequest, type SchedulerOptions } from '../src/index.js';
import { gate, nullBench } from './null-bench.js';
import { answer, promptOf } from './toy-answer.js';
import { toyBench, ToyModel } from './toy-model.js';

const prefix = promptOf(40);
const requests = [0, 1, 2].map((own): GenerateRequest => {
  return { tokens: [...prefix, ...promptOf(4 + own, 7 + own)], maxTokens: 3, sampling: { temperature: 0 } };
});

describe('requests that share a cold prefix', () => {
  it.each<[string, Partial<SchedulerOptions>, ToyModel]>([
    ['in one chunk', {}, new ToyModel([undefined])],
    ['in small chunks', { prefillChunk: 12 }, new ToyModel([undefined])],
    ['with windows', { prefillChunk: 24 }, new ToyModel([undefined, 5])],
  ])('compute it once and answer as if alone, %s', async (_, options, model) => {
    const { device, weights } = await toyBench(model);
    const create = (): Promise<Scheduler> =>
      Scheduler.create({
        device,
        weights,
        model,
        blockTokens: 4,
        maxSequences: 3,
        kvTokens: 288,
        ...options,
      });
    const alone: number[][] = [];
    for (const request of requests) {
      const scheduler = await create();
      alone.push((await answer(scheduler, request)).tokens);
      await scheduler.close();
    }
    const scheduler = await create();
    const answers = await Promise.all(requests.map((request) => answer(scheduler, request)));
    expect(answers.map(({ tokens }) => tokens)).toEqual(alone);
    expect(answers.map(({ end }) => end.usage.cachedPromptTokens)).toEqual([0, 40, 40]);
    expect(scheduler.stats().prefilledTokens).toBe(40 + 4 + 5 + 6);
    scheduler.checkIntegrity();
    await scheduler.close();
  });

  it('do not wait for another size, another scope, or where they take nothing over', async () => {
    const size = { feedForward: [4], skip: [] };
    for (const other of [{ size }, { cache: { salt: 'a' } }, { cache: 'none' }, { reuse: 'none' }] as const) {
      const bench = await nullBench({ maxSequences: 2, kvTokens: 192 }, new ToyModel([undefined]));
      const both = [requests[0]!, { ...requests[0]!, ...other }];
      const answers = await Promise.all(both.map((request) => answer(bench.scheduler, request)));
      expect(answers.map(({ end }) => end.usage.cachedPromptTokens)).toEqual([0, 0]);
      await bench.scheduler.close();
    }
  });

  it('go on by themselves when the one that they wait for leaves', async () => {
    const bench = await nullBench(
      { maxSequences: 3, kvTokens: 288, prefillChunk: 8 },
      new ToyModel([undefined]),
    );
    const { scheduler } = bench;
    const blocked = gate();
    let submissions = 0;
    bench.hook = () => (++submissions === 2 ? blocked.wait() : undefined);
    const leaving = new AbortController();
    const first = answer(scheduler, { ...requests[0]!, signal: leaving.signal });
    const others = requests.slice(1).map((request) => answer(scheduler, request));
    await blocked.reached;
    expect(scheduler.stats()).toMatchObject({ running: 1, queued: 2 });
    leaving.abort();
    blocked.open();
    expect((await first).end.finishReason).toBe('cancelled');
    const ends = (await Promise.all(others)).map(({ end }) => end);
    expect(ends.map(({ finishReason }) => finishReason)).toEqual(['length', 'length']);
    scheduler.checkIntegrity();
    await scheduler.close();
  });

  it('end where memory is short, whatever is preempted', async () => {
    const bench = await nullBench(
      { maxSequences: 3, kvTokens: 96, prefillChunk: 8 },
      new ToyModel([undefined]),
    );
    const grow = { tokens: promptOf(20, 3), maxTokens: 60, priority: 1 };
    const all = [grow, ...requests.map((request) => ({ ...request, maxTokens: 30 }))];
    const answers = await Promise.all(all.map((request) => answer(bench.scheduler, request)));
    expect(answers.map(({ tokens }) => tokens.length)).toEqual([60, 30, 30, 30]);
    bench.scheduler.checkIntegrity();
    await bench.scheduler.close();
  });
});
