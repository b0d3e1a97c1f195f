import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  Scheduler,
  type GenerateRequest,
  type GenerationEvent,
  type SchedulerOptions,
} from '../src/index.js';
import { ToyModel, toyBench, type Bench } from './toy-model.js';

export interface Answer {
  readonly tokens: number[];
  readonly end: Extract<GenerationEvent, { kind: 'end' }>;
}

export async function answer(scheduler: Scheduler, request: GenerateRequest): Promise<Answer> {
  const tokens: number[] = [];
  for await (const event of scheduler.generate(request)) {
    if (event.kind === 'end') return { tokens, end: event };
    tokens.push(event.token);
  }
  throw new Error('the generation had no end');
}

const prompt = Array.from({ length: 23 }, (_, i) => (i * 11 + 3) % 37);
const greedy = { temperature: 0 };

describe('generate', () => {
  let bench: Bench;
  beforeAll(async () => {
    bench = await toyBench(new ToyModel());
  });
  afterAll(() => bench.device.close());

  const create = (options: Partial<SchedulerOptions> = {}): Promise<Scheduler> =>
    Scheduler.create({ ...bench, kvDType: 'f32', precision: 'f32', blockTokens: 4, ...options });

  it('answers, and the same in every chunking', async () => {
    const answers: number[][] = [];
    for (const prefillChunk of [512, 23, 7, 1]) {
      const scheduler = await create({ prefillChunk });
      const { tokens, end } = await answer(scheduler, { tokens: prompt, maxTokens: 20, sampling: greedy });
      expect(end).toMatchObject({
        finishReason: 'length',
        usage: { promptTokens: 23, cachedPromptTokens: 0, completionTokens: 20 },
      });
      scheduler.checkIntegrity();
      answers.push(tokens);
      await scheduler.close();
    }
    expect(new Set(answers.map(String)).size).toBe(1);
    expect(new Set(answers[0]).size).toBeGreaterThan(2);
  });
});
