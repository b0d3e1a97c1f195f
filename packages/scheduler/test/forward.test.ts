/** Whole sequences through the model, for evaluation. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ElasticSize } from '@unicorn-exec/tensor';
import { Scheduler, type ForwardResult, type ForwardRows, type Reuse } from '../src/index.js';
import { answer, promptOf } from './toy-answer.js';
import { ToyModel, toyBench, type Bench } from './toy-model.js';

const sequences = [promptOf(31), promptOf(2, 1), promptOf(17, 2), promptOf(1, 3), promptOf(60, 4)];

describe('forward', () => {
  let bench: Bench;
  beforeAll(async () => {
    bench = await toyBench(new ToyModel());
  });
  afterAll(() => bench.device.close());

  it('gives the same rows whatever the chunks and the company', async () => {
    const whole = await Scheduler.create({ ...bench, kvDType: 'f32' });
    const cut = await Scheduler.create({
      ...bench,
      kvDType: 'f32',
      prefillChunk: 7,
      maxSequences: 3,
      blockTokens: 4,
    });
    const options = { logits: 'all', hidden: true } as const;
    const together = await cut.forward(sequences, options);
    for (const [index, sequence] of sequences.entries()) {
      const [alone] = await whole.forward([sequence], options);
      expect(alone!.logits!.length).toBe(sequence.length * 37);
      expect(Object.keys(alone!.hidden!)).toEqual(['hidden.0', 'hidden.1', 'hidden.2']);
      expect(together[index]).toEqual(alone);
    }
    cut.checkIntegrity();
    await Promise.all([whole.close(), cut.close()]);
  });

  it('predicts what generate generates', async () => {
    const scheduler = await Scheduler.create({ ...bench, kvDType: 'f32', prefillChunk: 8 });
    const { tokens } = await answer(scheduler, {
      tokens: sequences[0]!,
      maxTokens: 12,
      sampling: { temperature: 0 },
    });
    const [{ logits } = {}] = await scheduler.forward([[...sequences[0]!, ...tokens]], { logits: 'all' });
    const best = tokens.map((_, i) => {
      const row = logits!.subarray((30 + i) * 37, (31 + i) * 37);
      return row.indexOf(row.reduce((a, b) => Math.max(a, b)));
    });
    expect(best).toEqual(tokens);
    await scheduler.close();
  });

  it('streams chunks in order and collects nothing', async () => {
    const scheduler = await Scheduler.create({ ...bench, kvDType: 'f32', prefillChunk: 8, maxSequences: 2 });
    const seen: { sequence: number; position: number; count: number; logits: number[] }[] = [];
    const onRows = ({ sequence, position, count, logits }: ForwardRows): void =>
      void seen.push({ sequence, position, count, logits: [...logits!] });
    expect(await scheduler.forward(sequences, { logits: 'all', onRows })).toEqual(sequences.map(() => ({})));
    const [expected] = await scheduler.forward([sequences[4]!], { logits: 'all' });
    const rows = seen.filter(({ sequence }) => sequence === 4);
    expect(rows.length).toBeGreaterThan(6);
    let next = 0;
    for (const { position, count } of rows) {
      expect(position).toBe(next);
      next += count;
    }
    expect(rows.flatMap(({ logits }) => logits)).toEqual([...expected!.logits!]);
    await scheduler.close();
  });

  it('leaves the prefix cache as it was, and can run beside a generation', async () => {
    const scheduler = await Scheduler.create({ ...bench, kvDType: 'f32', maxSequences: 3, kvTokens: 300 });
    const request = { tokens: sequences[0]!, maxTokens: 10, sampling: { temperature: 0 } };
    const [{ tokens }] = await Promise.all([
      answer(scheduler, request),
      scheduler.forward(sequences, { logits: 'none' }),
    ]);
    const idle = scheduler.stats().idleSequences;
    await scheduler.forward(sequences, { logits: 'all' });
    expect(scheduler.stats().idleSequences).toBe(idle);
    const { end } = await answer(scheduler, { ...request, tokens: [...sequences[0]!, ...tokens] });
    expect(end.usage.cachedPromptTokens).toBe(40);
    expect(scheduler.stats().reusedTokens).toBe(40);
    await scheduler.close();
  });

  it('continues from the cache on request: bit for bit its own, not those of another size', async () => {
    const half: ElasticSize = { feedForward: [8, 4], skip: [] };
    const scheduler = await Scheduler.create({ ...bench, kvDType: 'f32', prefillChunk: 8, blockTokens: 4 });
    const [context, whole] = [promptOf(29), promptOf(41)];
    const fresh = async (size?: ElasticSize): Promise<Float32Array> => {
      const [{ logits } = {}] = await scheduler.forward([whole], { logits: 'all', size });
      return logits!.subarray(29 * 37);
    };
    /** What `to` scores behind the context that `from` computed. */
    const behind = async (
      from: ElasticSize | undefined,
      to: ElasticSize | undefined,
      reuse: Reuse,
    ): Promise<ForwardResult> => {
      scheduler.clearPrefixCache();
      expect(await scheduler.forward([context], { logits: 'none', size: from, reuse })).toEqual([{}]);
      const seen: ForwardRows[] = [];
      const [result] = await scheduler.forward([whole], { logits: 'all', size: to, reuse });
      scheduler.checkIntegrity();
      // The sequence itself was kept: all but its last token is there.
      const onRows = (rows: ForwardRows): void => void seen.push(rows);
      const [streamed] = await scheduler.forward([whole], { logits: 'all', size: to, reuse, onRows });
      expect(streamed).toEqual({ reusedTokens: 40 });
      expect(seen).toMatchObject([{ position: 40, count: 1 }]);
      return result!;
    };
    for (const [from, to] of [
      [undefined, undefined],
      [half, half],
      [undefined, half],
      [half, undefined],
    ] as const) {
      const { reusedTokens, logits } = await behind(from, to, 'anySize');
      expect(reusedTokens).toBe(29);
      expect(logits!.length).toBe(12 * 37);
      if (from === to) expect(logits).toEqual(await fresh(to));
      else expect(logits).not.toEqual(await fresh(to));
    }
    // By its own size only: another's is not taken, and nothing differs.
    const apart = await behind(half, undefined, 'sameSize');
    expect(apart).not.toHaveProperty('reusedTokens');
    expect(apart.logits!.subarray(29 * 37)).toEqual(await fresh());
    await scheduler.close();
  });

  it('takes none, and refuses what cannot be', async () => {
    const scheduler = await Scheduler.create({ ...bench, kvDType: 'f32', contextLength: 20, kvTokens: 12 });
    expect(await scheduler.forward([], { logits: 'all' })).toEqual([]);
    const run = (sequence: number[]): Promise<unknown> => scheduler.forward([sequence], { logits: 'none' });
    await expect(run([])).rejects.toMatchObject({ code: 'usage/prompt' });
    await expect(run([37])).rejects.toMatchObject({ code: 'usage/token-id' });
    await expect(run(promptOf(21))).rejects.toMatchObject({ code: 'usage/context' });
    await expect(run(promptOf(20))).rejects.toMatchObject({ code: 'resource/context' });
    await expect(
      scheduler.forward([promptOf(5)], { logits: 'none', signal: AbortSignal.abort() }),
    ).rejects.toMatchObject({ code: 'usage/cancelled' });
    const failing = scheduler.forward([promptOf(5), promptOf(6)], {
      logits: 'all',
      onRows() {
        throw new Error('no room');
      },
    });
    await expect(failing).rejects.toThrow('no room');
    expect(await run(promptOf(12))).toEqual([{}]);
    scheduler.checkIntegrity();
    await scheduler.close();
  });
});
