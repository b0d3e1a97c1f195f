/** What measures models says so where a model computes no numbers, and how sure it is where it does. */
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, describe, it } from 'vitest';
import { describeWeights, Engine, type GenerateRequest } from '../src/index.js';
import { benchmark, perplexity, writeEvaluation } from '../src/measure/index.js';
import { backends } from './shared.js';

const folder = mkdtempSync(join(tmpdir(), 'unicorn-measure-'));
const text = 'Once there was a brave fox who lived in the orchard.';

/** The bundled model with a number in its last norm that is not finite. */
async function spoiledModel(value: number): Promise<string> {
  const { path, tensors } = await describeWeights();
  const bytes = readFileSync(path);
  const { offset } = tensors.find(({ name }) => name === 'output_norm.weight')!;
  bytes.writeFloatLE(value, offset);
  const spoiled = join(folder, `${value}.gguf`);
  writeFileSync(spoiled, bytes);
  return spoiled;
}

async function withModel<T>(model: string | undefined, work: (engine: Engine) => Promise<T>): Promise<T> {
  const engine = await Engine.load({ model, backend: 'cpu', context: 256 });
  try {
    return await work(engine);
  } finally {
    await engine.close();
  }
}

describe.each([Number.NaN, Number.POSITIVE_INFINITY])('a weight of %s', (value) => {
  it('fails the measurement and names the place', async () => {
    await withModel(await spoiledModel(value), async (engine) => {
      const wrong = { code: 'device/result', fields: { position: 0 } };
      await expect(perplexity(engine, text)).rejects.toMatchObject(wrong);
      const output = join(folder, 'out.safetensors');
      await expect(writeEvaluation(engine, [[2, 4, 337]], { output })).rejects.toMatchObject(wrong);
      expect(readFileSync(output).length).toBeGreaterThan(3 * 8192 * 4);
    });
  });
});

describe.each(backends.filter(({ usable }) => usable))('generating on $name', ({ backend }) => {
  it.each([Number.NaN, Number.POSITIVE_INFINITY])(
    'says of a weight of %s that it computed no numbers',
    async (value) => {
      const engine = await Engine.load({ model: await spoiledModel(value), backend, context: 64 });
      const wrong = {
        code: 'device/result',
        message: expect.stringContaining('computed no numbers') as string,
        fix: expect.any(String) as string,
      };
      const generate = async (request: Partial<GenerateRequest>): Promise<void> => {
        for await (const chunk of engine.generate({ prompt: 'Once', maxTokens: 4, ...request })) void chunk;
      };
      try {
        for (const request of [
          { sampling: { temperature: 0 } },
          { sampling: { temperature: 1, seed: 1 } },
          { sampling: { temperature: 0 }, logProbabilities: 2 },
          { sampling: { temperature: 0 }, speculation: { draft: 'half' } },
        ]) {
          await expect(generate(request)).rejects.toMatchObject(wrong);
        }
        await expect(
          benchmark(engine, { promptTokens: 8, generateTokens: 4, repetitions: 1 }),
        ).rejects.toMatchObject(wrong);
        expect(engine.stats().requests).toBe(5);
      } finally {
        await engine.close();
      }
    },
  );
});

it('tells how far perplexity and divergence may be off', async () => {
  await withModel(undefined, async (engine) => {
    const result = await perplexity(engine, text, { against: engine, elastic: 'half' });
    expect(result.perplexity).toBeCloseTo(Math.exp(result.negativeLogLikelihood / result.tokens), 9);
    expect(result.standardError).toBeGreaterThan(0);
    expect(result.standardError).toBeLessThan(result.perplexity);
    const { kl, sameTop } = result;
    expect(kl!.median).toBeLessThanOrEqual(kl!.p99);
    expect(kl!.p99).toBeLessThanOrEqual(kl!.max);
    expect(kl!.standardError).toBeGreaterThan(0);
    expect(sameTop!.share).toBeGreaterThan(0);
    expect(sameTop!.share).toBeLessThan(1);
    expect((await perplexity(engine, text, { against: engine })).sameTop).toEqual({
      share: 1,
      standardError: 0,
    });
  });
});
