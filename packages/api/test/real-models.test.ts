/** Models with trained weights: SmolLM2-135M (a file that people use) and Unicorn Nano (every part of Gemma 3n). */
import { modelPath as nanoGguf } from '@unicorn-exec/model-nano';
import { describe, expect, it } from 'vitest';
import { Engine, type LoadOptions } from '../src/index.js';
import { perplexity } from '../src/measure/index.js';
import { argmax, backends, hasShared, sharedJson, sharedPath } from './shared.js';

interface SmolLm2Golden {
  prompts: {
    name: string;
    text: string;
    ids: number[];
    first_top20: [id: number, logit: number][];
    greedy_ids: number[];
    greedy_margin: number[];
  }[];
  perplexity: { text: string; perplexity: number };
}

interface NanoGolden {
  intermediate_size: Record<string, number[]>;
  cases: {
    prompt: string;
    input_ids: number[];
    greedy: Record<string, { tokens: number[]; margins: number[] }>;
  }[];
}

const smollm2 = 'models/SmolLM2-135M-Instruct.Q4_1.gguf';
const nano = 'models/unicorn-nano';
const long = process.env.UNICORN_LONG_TESTS === '1';
const [reference, cpu] = backends as [(typeof backends)[0], (typeof backends)[1]];

async function withEngine<T>(options: LoadOptions, work: (engine: Engine) => Promise<T>): Promise<T> {
  const engine = await Engine.load(options);
  try {
    return await work(engine);
  } finally {
    await engine.close();
  }
}

/** The best token after each of the last `count` positions of `ids`. */
async function bestTokens(
  engine: Engine,
  ids: readonly number[],
  count: number,
  feedForward?: number[],
): Promise<number[]> {
  const width = engine.model.vocabularySize;
  const best: number[] = [];
  await engine.forward([ids], {
    logits: 'all',
    size: feedForward && { feedForward, skip: [] },
    onRows: ({ position, count: rows, logits }) => {
      for (let row = 0; row < rows; row++)
        best[position + row] = argmax(logits!.subarray(row * width, (row + 1) * width));
    },
  });
  return best.slice(-count);
}

/** Steps whose best token differs although the golden's two best are further apart than `margin`. */
function disagreements(
  best: readonly number[],
  ids: readonly number[],
  margins: readonly number[],
  margin: number,
): number[] {
  return margins.flatMap((distance, step) => (distance > margin && best[step] !== ids[step] ? [step] : []));
}

describe.skipIf(!hasShared(smollm2))('SmolLM2-135M-Instruct Q4_1', () => {
  const golden = hasShared(smollm2)
    ? sharedJson<SmolLm2Golden>('goldens/smollm2/smollm2.json')
    : { prompts: [] as never[], perplexity: { text: '', perplexity: 0 } };
  const model = sharedPath(smollm2);

  it('on reference: the 20 best first tokens of each prompt', { timeout: 600_000 }, async () => {
    await withEngine(
      { model, backend: reference.backend, precision: 'f32', kvType: 'f32', context: 512 },
      async (engine) => {
        // The prompt of 200 tokens takes half a minute here.
        for (const { ids, first_top20 } of golden.prompts.filter(({ ids }) => long || ids.length < 20)) {
          const [result] = await engine.forward([ids], { logits: 'all' });
          const last = result!.logits!.subarray(-engine.model.vocabularySize);
          const top = Array.from(last, (logit, id) => [id, logit] as const)
            .sort((a, b) => b[1] - a[1])
            .slice(0, 20);
          expect(top.map(([id]) => id)).toEqual(first_top20.map(([id]) => id));
          for (const [rank, [, logit]] of top.entries())
            expect(Math.abs(logit - first_top20[rank]![1])).toBeLessThan(1e-3);
        }
      },
    );
  });

  describe.skipIf(!cpu.usable)('on cpu', () => {
    it('fed the reference ids, takes the same best token wherever the margin exceeds 0.5', async () => {
      await withEngine({ model, backend: cpu.backend, context: 512 }, async (engine) => {
        for (const { name, ids, greedy_ids, greedy_margin } of golden.prompts) {
          const best = await bestTokens(engine, [...ids, ...greedy_ids.slice(0, -1)], greedy_ids.length);
          expect(disagreements(best, greedy_ids, greedy_margin, 0.5), name).toEqual([]);
        }
      });
    });

    it('in float32, takes the same best token wherever the margin exceeds 1e-3', async () => {
      await withEngine(
        { model, backend: cpu.backend, precision: 'f32', kvType: 'f32', context: 512 },
        async (engine) => {
          for (const { name, ids, greedy_ids, greedy_margin } of golden.prompts) {
            const best = await bestTokens(engine, [...ids, ...greedy_ids.slice(0, -1)], greedy_ids.length);
            expect(disagreements(best, greedy_ids, greedy_margin, 1e-3), name).toEqual([]);
          }
        },
      );
    });

    it('perplexity within 1 percent, in float32 within 1e-4', async () => {
      const { text, perplexity: expected } = golden.perplexity;
      const fast = await withEngine({ model, backend: cpu.backend }, (engine) => perplexity(engine, text));
      expect(Math.abs(fast.perplexity / expected - 1)).toBeLessThan(0.01);
      const exact = await withEngine(
        { model, backend: cpu.backend, precision: 'f32', kvType: 'f32' },
        (engine) => perplexity(engine, text),
      );
      expect(Math.abs(exact.perplexity / expected - 1)).toBeLessThan(1e-4);
      expect(exact.tokens).toBe(431);
    });
  });
});

describe.skipIf(!hasShared(nano))('Unicorn Nano', () => {
  for (const { name, backend, usable } of backends) {
    it.skipIf(!usable || (name === 'reference' && !long))(
      `safetensors in float32 on ${name}: greedy.json in three sizes`,
      { timeout: 900_000 },
      async () => {
        const golden = sharedJson<NanoGolden>(`${nano}/greedy.json`);
        await withEngine(
          { model: sharedPath(nano), backend, precision: 'f32', kvType: 'f32' },
          async (engine) => {
            for (const { prompt, input_ids, greedy } of golden.cases) {
              const [rendered] = [
                await engine.promptTokens({ messages: [{ role: 'user', content: prompt }] }),
              ];
              expect(rendered).toEqual(input_ids);
              for (const [size, { tokens, margins }] of Object.entries(greedy)) {
                const best = await bestTokens(
                  engine,
                  [...input_ids, ...tokens.slice(0, -1)],
                  tokens.length,
                  golden.intermediate_size[size],
                );
                expect(disagreements(best, tokens, margins, 5e-3), `${size}: ${prompt}`).toEqual([]);
              }
            }
          },
        );
      },
    );
  }

  it.skipIf(!cpu.usable)('nano.gguf: perplexity within 2 percent of the float32 checkpoint', async () => {
    const { text } = sharedJson<SmolLm2Golden>('goldens/smollm2/smollm2.json').perplexity;
    const exact = await withEngine(
      { model: sharedPath(nano), backend: cpu.backend, precision: 'f32', kvType: 'f32' },
      (engine) => perplexity(engine, text),
    );
    const packed = await withEngine({ model: nanoGguf, backend: cpu.backend }, (engine) =>
      perplexity(engine, text),
    );
    expect(Math.abs(packed.perplexity / exact.perplexity - 1)).toBeLessThan(0.02);
  });
});
