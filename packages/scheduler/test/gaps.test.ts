/** How long neighbours and short prompts wait behind long ones, by a clock that only submissions move. */
import { describe, expect, it } from 'vitest';
import type { GenerateRequest, GenerationEvent } from '../src/index.js';
import { nullBench } from './null-bench.js';
import { promptOf } from './toy-answer.js';
import { ToyModel } from './toy-model.js';

/** Milliseconds of a submission: what it takes anyway, and each of its rows. */
const stepMs = 20;
const rowMs = 1;

describe('the gaps between tokens', () => {
  it('are those of one chunk at most, and a short prompt waits for one, behind two prompts of 8,192', async () => {
    let now = 0;
    const chunk = 512;
    const model = new ToyModel([undefined], 37, 8300);
    const options = { maxSequences: 6, kvTokens: 4 * 8300, blockTokens: 16, clock: () => now };
    const bench = await nullBench(options, model);
    const steps: number[] = [];
    bench.hook = ({ dims }) => {
      steps.push(dims.tokens!);
      now += stepMs + rowMs * dims.tokens!;
    };
    const ask = async (request: GenerateRequest): Promise<{ first: number; gaps: number[] }> => {
      const begin = now;
      const times: number[] = [];
      for await (const event of bench.scheduler.generate(request) as AsyncIterable<GenerationEvent>) {
        if (event.kind === 'token') times.push(now);
      }
      const gaps = times.slice(1).map((time, index) => time - times[index]!);
      return { first: times[0]! - begin, gaps };
    };
    const chats = [0, 1, 2].map((salt) => ask({ tokens: promptOf(9, salt), maxTokens: 80 }));
    while (bench.scheduler.stats().generatedTokens < 9) await new Promise((resolve) => setImmediate(resolve));
    const long = [3, 4].map((salt) => ask({ tokens: promptOf(8192, salt), maxTokens: 2 }));
    const short = ask({ tokens: promptOf(1, 5), maxTokens: 2 });
    const oneChunk = stepMs + rowMs * (chunk + 5);
    // What was in flight when it came, and its own step.
    expect((await short).first).toBeLessThanOrEqual(2 * oneChunk);
    const decodeStep = stepMs + rowMs * 6;
    for (const { gaps } of await Promise.all(chats)) {
      expect(Math.max(...gaps)).toBeLessThanOrEqual(2 * decodeStep + rowMs * chunk);
    }
    const firsts = (await Promise.all(long)).map(({ first }) => first);
    // The first is not kept back by the second, and the second not by more than the first.
    const alone = (8192 / chunk) * oneChunk;
    expect(firsts[0]).toBeLessThanOrEqual(1.2 * alone);
    expect(firsts[1]).toBeLessThanOrEqual(2.2 * alone);
    expect(Math.max(...steps)).toBeLessThanOrEqual(chunk + 5);
    await bench.scheduler.close();
  });
});
