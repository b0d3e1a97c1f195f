/** What speculation submits, and what it does when things go wrong: on the null device, with answers that are made up. */
import { describe, expect, it } from 'vitest';
import { sampleControls, UnicornError } from '@unicorn-exec/tensor';
import type { SpeculationOptions } from '../src/index.js';
import { gate, nullBench, type NullBench, type Seen } from './null-bench.js';
import { answer, promptOf } from './toy-answer.js';

const half = { feedForward: [8, 8], skip: [] };
const always = (draft: SpeculationOptions['draft'], maxTokens?: number): SpeculationOptions => ({
  draft,
  maxTokens,
  adaptive: false,
});

const column = (seen: Seen, name: (typeof sampleControls)[number]): number[] => {
  const controls = seen.inputs['sample.controls']!;
  const at = sampleControls.indexOf(name);
  return controls.filter((_, index) => index % sampleControls.length === at);
};

const drafts = ({ program }: Seen): boolean => program.includes('8,8');

/** The token at a position. */
const truth = (position: number): number => (position * position + 3) % 31;

/** Answers with the truth; the slice too, but where `wrong` says. */
function answerTruly(bench: NullBench, wrong: (position: number) => boolean = () => false): void {
  bench.hook = (seen) => {
    column(seen, 'position').forEach((position, row) => {
      seen.sampled[row] = drafts(seen) && wrong(position) ? 36 : truth(position);
    });
  };
}

describe('a step that speculates', () => {
  it('checks guesses behind the last token, each with its own place in the history', async () => {
    const bench = await nullBench();
    answerTruly(bench, (position) => position === 8);
    const { tokens, end } = await answer(bench.scheduler, {
      tokens: promptOf(6),
      maxTokens: 6,
      speculation: always(half, 3),
    });
    expect(tokens).toEqual([6, 7, 8, 9, 10, 11].map(truth));
    expect(end.speculation).toEqual({ draftedTokens: 5, acceptedTokens: 3, speculationSteps: 2 });
    const steps = bench.seen.map((seen) => ({
      by: drafts(seen) ? 'slice' : 'own',
      ids: seen.inputs.ids!,
      positions: seen.inputs.positions!,
      rows: seen.inputs.rows!,
      lengths: column(seen, 'historyLength'),
    }));
    expect(steps.slice(1)).toEqual([
      { by: 'slice', ids: [truth(6)], positions: [6], rows: [0], lengths: [7] },
      { by: 'slice', ids: [truth(7)], positions: [7], rows: [0], lengths: [8] },
      { by: 'slice', ids: [36], positions: [8], rows: [0], lengths: [9] },
      {
        by: 'own',
        ids: [truth(6), truth(7), 36, truth(9)],
        positions: [6, 7, 8, 9],
        rows: [0, 1, 2, 3],
        lengths: [7, 8, 9, 10],
      },
      // The second guess was wrong: its place is computed again with the token that is right.
      { by: 'slice', ids: [truth(8)], positions: [8], rows: [0], lengths: [9] },
      { by: 'slice', ids: [truth(9)], positions: [9], rows: [0], lengths: [10] },
      {
        by: 'own',
        ids: [truth(8), truth(9), truth(10)],
        positions: [8, 9, 10],
        rows: [0, 1, 2],
        lengths: [9, 10, 11],
      },
    ]);
    for (const { inputs, dims } of bench.seen) {
      inputs['slots.full']!.forEach((slot, row) => {
        const position = inputs.positions![row]!;
        expect(slot).toBe(inputs['blocks.full']![Math.floor(position / 4)]! * 4 + (position % 4));
        expect(inputs['blocks.full']!.length).toBe(dims.blocks);
      });
    }
    await bench.scheduler.close();
  });

  it('is one submission for those who speculate and those who do not', async () => {
    const bench = await nullBench({ maxSequences: 3, kvTokens: 200 });
    answerTruly(bench);
    const { scheduler } = bench;
    await Promise.all([
      answer(scheduler, { tokens: promptOf(5), maxTokens: 9, speculation: always(half, 3) }),
      answer(scheduler, { tokens: promptOf(5, 1), maxTokens: 9, speculation: always(half, 3) }),
      answer(scheduler, { tokens: promptOf(5, 2), maxTokens: 3 }),
    ]);
    const shapes = bench.seen.map((seen) => [drafts(seen), seen.dims.sequences, seen.dims.outputs]);
    expect(shapes).toEqual([
      [false, 3, 3],
      ...[1, 2, 3].map(() => [true, 2, 2]),
      [false, 3, 9],
      ...[1, 2, 3].map(() => [true, 2, 2]),
      [false, 3, 9],
    ]);
    await scheduler.close();
  });

  it('leaves room for a prompt beside guesses, in the chunk that both share', async () => {
    const bench = await nullBench({ maxSequences: 2, kvTokens: 200, prefillChunk: 6 });
    answerTruly(bench);
    const { scheduler } = bench;
    const first = answer(scheduler, { tokens: promptOf(6), maxTokens: 60, speculation: always(half, 16) });
    await answer(scheduler, { tokens: promptOf(20, 1), maxTokens: 3 });
    await first;
    for (const { dims } of bench.seen) expect(dims.tokens).toBeLessThanOrEqual(6 + 2 - 1);
    scheduler.checkIntegrity();
    await scheduler.close();
  });

  it('cancels while guesses are made and while they are checked, and keeps what was computed', async () => {
    for (const phase of ['drafting', 'checking'] as const) {
      const bench = await nullBench();
      const { scheduler } = bench;
      const barrier = gate();
      answerTruly(bench);
      const { hook } = bench;
      bench.hook = async (seen) => {
        await hook(seen);
        const position = seen.inputs.positions![0]!;
        const there =
          phase === 'drafting' ? drafts(seen) && position === 11 : !drafts(seen) && position === 10;
        if (there) await barrier.wait();
      };
      const cancel = new AbortController();
      const request = { tokens: promptOf(6), maxTokens: 30, speculation: always(half, 3) };
      const first = answer(scheduler, { ...request, signal: cancel.signal });
      await barrier.reached;
      cancel.abort();
      const { tokens, end } = await first;
      expect(end).toMatchObject({ finishReason: 'cancelled', speculation: { draftedTokens: 3 } });
      expect(tokens).toEqual([6, 7, 8, 9, 10].map(truth));
      scheduler.checkIntegrity();
      barrier.open();
      const later = await answer(scheduler, { tokens: [...promptOf(6), ...tokens, 1], maxTokens: 1 });
      // The last token is computed where the step that checked it has run.
      expect(later.end.usage.cachedPromptTokens).toBe(phase === 'drafting' ? 10 : 11);
      expect(scheduler.stats()).toMatchObject({ running: 0, acceptedTokens: 3, speculationSteps: 1 });
      scheduler.checkIntegrity();
      await scheduler.close();
    }
  });

  it('rejects those whose guesses failed on the device, and serves the others', async () => {
    const bench = await nullBench({ maxSequences: 2, kvTokens: 200 });
    answerTruly(bench);
    const { hook } = bench;
    bench.hook = (seen) => {
      if (drafts(seen)) throw new UnicornError('device/lost', 'The device fell off the bus.');
      return hook(seen);
    };
    const { scheduler } = bench;
    const results = await Promise.allSettled([
      answer(scheduler, { tokens: promptOf(5), maxTokens: 5, speculation: always(half) }),
      answer(scheduler, { tokens: promptOf(5, 1), maxTokens: 5 }),
    ]);
    expect(results[0]).toMatchObject({ status: 'rejected', reason: { code: 'device/lost' } });
    expect(results[1]).toMatchObject({ status: 'fulfilled' });
    scheduler.checkIntegrity();
    await scheduler.close();
  });

  it('takes an id that does not exist for no guess', async () => {
    const bench = await nullBench();
    answerTruly(bench);
    const { hook } = bench;
    bench.hook = async (seen) => {
      await hook(seen);
      if (drafts(seen)) seen.sampled.fill(seen.dims.tokens! % 2 ? -1 : 99);
    };
    const { tokens, end } = await answer(bench.scheduler, {
      tokens: promptOf(5),
      maxTokens: 5,
      speculation: always(half),
    });
    expect(tokens).toEqual([5, 6, 7, 8, 9].map(truth));
    expect(end.speculation!.draftedTokens).toBe(0);
    bench.scheduler.checkIntegrity();
    await bench.scheduler.close();
  });
});

describe('adaptive speculation, by a clock of our own', () => {
  /** Time of an answer of 400 tokens with and without, on a device that takes so long for a row. */
  const ratio = async (
    machine: {
      readonly draftMs: number;
      readonly rowMs: number;
      readonly wrong: (position: number) => boolean;
    },
    draft: SpeculationOptions['draft'] = half,
  ): Promise<{ ratio: number; drafted: number }> => {
    let now = 0;
    const times: number[] = [];
    let drafted = 0;
    for (const speculation of [undefined, { draft }]) {
      const bench = await nullBench({ clock: () => now, contextLength: 500, kvTokens: 500 });
      answerTruly(bench, machine.wrong);
      const { hook } = bench;
      bench.hook = (seen) => {
        now += drafts(seen) ? machine.draftMs : 1 + machine.rowMs * (seen.dims.tokens! - 1);
        return hook(seen);
      };
      const { tokens, end } = await answer(bench.scheduler, {
        tokens: promptOf(5),
        maxTokens: 400,
        speculation,
      });
      expect(tokens).toEqual(Array.from({ length: 400 }, (_, i) => truth(5 + i)));
      times.push(end.timings.decodeMs);
      drafted += end.speculation?.draftedTokens ?? 0;
      bench.scheduler.checkIntegrity();
      await bench.scheduler.close();
    }
    return { ratio: times[0]! / times[1]!, drafted };
  };

  it('guesses when it pays', async () => {
    const { ratio: gain } = await ratio({
      draftMs: 0.1,
      rowMs: 0.05,
      wrong: (position) => position % 10 === 0,
    });
    expect(gain).toBeGreaterThan(2);
  });

  it('stops when guesses are wrong, slow to make or slow to check, at less than 3 %', async () => {
    for (const machine of [
      { draftMs: 0.3, rowMs: 0.1, wrong: () => true },
      { draftMs: 1.5, rowMs: 0, wrong: () => false },
      { draftMs: 0.2, rowMs: 1, wrong: () => false },
    ]) {
      const { ratio: gain, drafted } = await ratio(machine);
      expect(gain).toBeGreaterThan(0.97);
      expect(drafted).toBeLessThan(30);
    }
  });

  it('finds the period of a text', async () => {
    // (p^2 + 3) mod 31 has the period 31.
    const { ratio: gain } = await ratio({ draftMs: 0, rowMs: 0.02, wrong: () => false }, 'ngram');
    expect(gain).toBeGreaterThan(2);
  });
});
