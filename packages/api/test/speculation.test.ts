/** Guessing ahead with the bundled model: the same answers, and an account of the guesses. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Engine, type GenerateChunk, type GenerateRequest, type Speculation } from '../src/index.js';

async function collect(engine: Engine, request: GenerateRequest): Promise<GenerateChunk & { text: string }> {
  let text = '';
  const tokens: number[] = [];
  let last: GenerateChunk | undefined;
  for await (const chunk of engine.generate(request)) {
    text += chunk.text;
    tokens.push(...chunk.tokens);
    last = chunk;
  }
  return { ...last!, text, tokens };
}

const stories = [
  'Tell me a short story about a brave fox who finds a golden key.',
  'Who are you?',
  'Repeat after me: the cat and the dog and the cat and the dog.',
].map((content) => ({ messages: [{ role: 'user', content }], maxTokens: 48 }));

const speculations: Speculation[] = [
  { draft: 'half', adaptive: false, maxTokens: 4 },
  { draft: 'quarter' },
  { draft: 0.5, maxTokens: 2, adaptive: false },
  { draft: 'ngram', adaptive: false },
  { draft: 'ngram' },
];

describe('speculation', () => {
  let engine: Engine;
  beforeAll(async () => {
    engine = await Engine.load({ context: 512 });
  });
  afterAll(() => engine.close());

  it.each([
    ['greedy', { temperature: 0 }],
    ['drawn', { temperature: 0.9, topK: 0, repetitionPenalty: 1.1, seed: 7 }],
  ])('gives the very tokens of plain decoding: %s', async (_how, sampling) => {
    const expected: (readonly number[])[] = [];
    for (const story of stories) expected.push((await collect(engine, { ...story, sampling })).tokens);
    for (const speculation of speculations) {
      const answers = await Promise.all(
        stories.map((story) => collect(engine, { ...story, sampling, speculation })),
      );
      expect(
        answers.map(({ tokens }) => tokens),
        JSON.stringify(speculation),
      ).toEqual(expected);
    }
  });

  it('guesses most of a story right with half the model, and says so', async () => {
    const before = engine.stats().speculation;
    const speculation = { draft: 'half', adaptive: false, maxTokens: 4 };
    const { usage, ...last } = await collect(engine, {
      ...stories[0]!,
      sampling: { temperature: 0 },
      speculation,
    });
    const { draftedTokens, acceptedTokens, speculationSteps } = last.speculation!;
    expect(acceptedTokens + speculationSteps).toBe(usage!.completionTokens - 1);
    expect(acceptedTokens / draftedTokens).toBeGreaterThan(0.6);
    expect(engine.stats().speculation.acceptedTokens - before.acceptedTokens).toBe(acceptedTokens);
    expect(await collect(engine, stories[1]!)).not.toHaveProperty('speculation');
  });

  it('stops at a stop string inside a run of right guesses', async () => {
    const request = { ...stories[1]!, sampling: { temperature: 0 }, stop: ['tiny'] };
    const plain = await collect(engine, request);
    const guessed = await collect(engine, {
      ...request,
      speculation: { draft: 'full', adaptive: false, maxTokens: 16 },
    });
    expect(guessed.text).toBe(plain.text);
    expect(guessed.finishReason).toBe('stop');
    expect(guessed.usage!.completionTokens).toBe(plain.usage!.completionTokens);
  });

  it.each([
    ['an unknown size', { draft: 'enormous' }, 'usage/elastic'],
    ['too long a draft', { draft: 'ngram', maxTokens: 99 }, 'usage/speculation'],
  ])('refuses %s', async (_what, speculation, code) => {
    await expect(collect(engine, { ...stories[1]!, speculation })).rejects.toMatchObject({ code });
  });
});
