/** Whom a request shares the prefix cache with, and who is admitted before whom. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { CacheScope, GenerateRequest } from '../src/index.js';
import { gate, nullBench, type NullBench } from './null-bench.js';
import { answer, promptOf } from './toy-answer.js';
import { ToyModel } from './toy-model.js';

const prompt = promptOf(24);

describe('the scope of the prefix cache', () => {
  let bench: NullBench;
  beforeAll(async () => {
    // Without windows, whose small pools would forget the oldest of the sequences.
    const model = new ToyModel([undefined]);
    bench = await nullBench({ contextLength: 64, kvTokens: 256, maxSequences: 4 }, model);
  });
  afterAll(() => bench.scheduler.close());

  const cachedTokens = async (cache: CacheScope | undefined, reuse?: 'sameSize'): Promise<number> => {
    const { end } = await answer(bench.scheduler, { tokens: prompt, maxTokens: 2, cache, reuse });
    bench.scheduler.checkIntegrity();
    return end.usage.cachedPromptTokens;
  };

  it('connects requests of one salt, and nobody else', async () => {
    expect(await cachedTokens({ salt: 'a' })).toBe(0);
    expect(await cachedTokens({ salt: 'b' })).toBe(0);
    expect(await cachedTokens({ salt: '' })).toBe(0);
    expect(await cachedTokens(undefined)).toBe(0);
    for (const salt of ['a', 'b', '']) expect(await cachedTokens({ salt }), salt).toBeGreaterThanOrEqual(20);
    expect(await cachedTokens({ salt: 'a' }, 'sameSize')).toBeGreaterThanOrEqual(20);
    expect(await cachedTokens(undefined)).toBeGreaterThanOrEqual(20);
  });

  it('with none gives nothing, takes nothing and leaves nothing', async () => {
    bench.scheduler.clearPrefixCache();
    expect(await cachedTokens('none')).toBe(0);
    expect(bench.scheduler.stats().idleSequences).toBe(0);
    expect(await cachedTokens(undefined)).toBe(0);
    expect(await cachedTokens('none')).toBe(0);
  });

  it('keeps those apart that run at the same time', async () => {
    bench.scheduler.clearPrefixCache();
    const tokens = promptOf(16);
    const scopes: (CacheScope | undefined)[] = ['none', 'none', { salt: 'a' }, undefined];
    const answers = await Promise.all(
      scopes.map((cache) => answer(bench.scheduler, { tokens, maxTokens: 4, cache })),
    );
    for (const { end } of answers) expect(end.usage.cachedPromptTokens).toBe(0);
  });

  it('is checked', () => {
    for (const cache of [7, 'all', null, {}, { salt: 7 }, []]) {
      expect(() => bench.scheduler.generate({ tokens: prompt, cache } as unknown as GenerateRequest)).toThrow(
        expect.objectContaining({ code: 'usage/cache' }),
      );
    }
  });
});

describe('priorities', () => {
  it('are the order of admission, and age is that of equals', async () => {
    const bench = await nullBench({ contextLength: 32, maxSequences: 1 });
    const ended: string[] = [];
    const ask = async (name: string, priority?: number): Promise<void> => {
      await answer(bench.scheduler, { tokens: promptOf(5), maxTokens: 1, priority });
      ended.push(name);
    };
    const blocked = gate();
    bench.hook = () => blocked.wait();
    const all = [ask('first')];
    await blocked.reached;
    all.push(ask('low', -1), ask('plain'), ask('high', 2), ask('plain too', 0), ask('high too', 2));
    blocked.open();
    await Promise.all(all);
    expect(ended).toEqual(['first', 'high', 'high too', 'plain', 'plain too', 'low']);
    for (const priority of [1.5, NaN, Infinity, '1' as unknown as number]) {
      expect(() => bench.scheduler.generate({ tokens: prompt, priority })).toThrow(
        expect.objectContaining({ code: 'usage/priority' }),
      );
    }
    await bench.scheduler.close();
  });
});
