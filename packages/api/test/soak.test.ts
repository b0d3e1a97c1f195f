/**
 * 32 clients of all kinds on one engine: what it tells of them adds up to what they got, and nothing stays behind. A few
 * hundred requests in every run; ten minutes with UNICORN_LONG_TESTS=1 (or UNICORN_SOAK_SECONDS, for another length).
 */
import type { Scheduler } from '@unicorn-exec/scheduler';
import { expect, it } from 'vitest';
import { Engine, type EndReason } from '../src/index.js';
import { soak } from './soak.js';

const isLong = process.env['UNICORN_LONG_TESTS'] === '1';
const seconds = Number(process.env['UNICORN_SOAK_SECONDS'] ?? 600);
const clients = 32;

it(
  'reconciles requests, ends and tokens, and gives all memory back',
  { timeout: (seconds + 120) * 1000 },
  async () => {
    const options = { context: 512, kvTokens: 2048, maxSequences: 8, maxQueued: 20 };
    const engine = await Engine.load(options);
    const told = { requests: 0, tokens: 0, ends: {} as Partial<Record<EndReason, number>> };
    engine.on('finished', ({ reason, usage }) => {
      told.requests++;
      told.tokens += usage.completionTokens;
      told.ends[reason] = (told.ends[reason] ?? 0) + 1;
    });
    const until = performance.now() + seconds * 1000;
    const result = await soak(engine, clients, (requests) =>
      isLong ? performance.now() < until : requests < 400,
    );
    const { requests, tokens, ends, gaps, codes } = result;
    const nonzero = Object.fromEntries(Object.entries(ends).filter(([, count]) => count > 0));
    const stats = engine.stats();
    console.log(
      JSON.stringify({
        requests,
        tokens,
        ends: nonzero,
        refusals: codes,
        preemptions: stats.preemptions,
        gapMs: [0.5, 0.99, 0.999].map((share) => Number(gaps.quantile(share).toFixed(1))),
        mebibytesPerMinute: Number(result.mebibytesPerMinute.toFixed(2)),
      }),
    );
    expect(told).toEqual({ requests, tokens, ends: nonzero });
    expect(stats).toMatchObject({ requests, active: 0, ends, completionTokens: tokens });
    expect(ends.failed).toBe(0);
    for (const end of ['length', 'cancelled', 'deadline', 'left', 'refused'] as const)
      expect(ends[end], end).toBeGreaterThan(0);
    const { scheduler } = (engine as unknown as { runtime: { latest: { scheduler: Scheduler } } }).runtime
      .latest;
    while (scheduler.stats().running > 0) await new Promise((resolve) => setImmediate(resolve));
    scheduler.checkIntegrity();
    scheduler.clearPrefixCache();
    for (const { name, blocks, freeBlocks, reservedBlocks } of scheduler.stats().kvGroups)
      expect([freeBlocks, reservedBlocks], name).toEqual([blocks, 0]);
    if (isLong) expect(result.mebibytesPerMinute).toBeLessThan(2);
    await engine.close();
  },
);
