/** The Engine facade with the bundled model: what a program that embeds it relies on. */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  Chat,
  Engine,
  type GenerateChunk,
  type GenerateRequest,
  type TokenLogProbabilities,
} from '../src/index.js';

const greedy = { temperature: 0 };
const question = { messages: [{ role: 'user', content: 'Who are you?' }], sampling: greedy };
/** Longer than a KV block, so that a second time finds a part of it in the cache. */
const longQuestion = {
  messages: [{ role: 'user', content: 'Tell me a short story about a brave fox who finds a golden key.' }],
  sampling: greedy,
  maxTokens: 12,
};
const answer = 'I am Unicorn Nano, a tiny demo model of the Unicorn Execution Engine.';

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

describe('Engine', () => {
  let engine: Engine;
  beforeAll(async () => {
    engine = await Engine.load({ context: 512 });
  });
  afterAll(() => engine.close());

  it('streams an answer and ends with reason, usage and timings', async () => {
    const result = await collect(engine, question);
    expect(result.text.startsWith(answer)).toBe(true);
    expect(result.finishReason).toBe('stop');
    expect(result.usage).toEqual({
      promptTokens: 15,
      cachedPromptTokens: 0,
      completionTokens: result.tokens.length,
    });
    expect(result.timings!.ttftMs).toBeGreaterThan(0);
  });

  it('answers the same after a prefix-cache hit, in company, and from raw ids', async () => {
    const alone = await collect(engine, longQuestion);
    const again = await collect(engine, longQuestion);
    expect(again.usage!.cachedPromptTokens).toBeGreaterThan(0);
    expect(again.tokens).toEqual(alone.tokens);
    const other = { messages: [{ role: 'user', content: 'Why is the sky blue?' }], sampling: greedy };
    const [first, , third] = await Promise.all(
      [longQuestion, other, longQuestion].map((request) => collect(engine, request)),
    );
    expect(first!.tokens).toEqual(alone.tokens);
    expect(third!.tokens).toEqual(alone.tokens);
    const ids = await engine.promptTokens(longQuestion);
    expect((await collect(engine, { ...longQuestion, tokens: ids })).tokens).toEqual(alone.tokens);
  });

  it('gives log-probabilities beside tokens, under the raw logits', async () => {
    const prompt = await engine.encodePrompt({ text: 'Once upon a time', literal: [] });
    const request = { tokens: prompt, sampling: { temperature: 0.7, seed: 3 }, maxTokens: 6 };
    const plain = await collect(engine, request);
    const tokens: number[] = [];
    const scores: TokenLogProbabilities[] = [];
    for await (const chunk of engine.generate({ ...request, logProbabilities: 3 })) {
      expect(chunk.logProbabilities?.length ?? 0).toBe(chunk.tokens.length);
      tokens.push(...chunk.tokens);
      scores.push(...(chunk.logProbabilities ?? []));
    }
    expect(tokens).toEqual(plain.tokens);
    const [result] = await engine.forward([[...prompt, ...tokens]], { logits: 'all' });
    const { vocabularySize } = engine.model;
    tokens.forEach((token, index) => {
      const position = prompt.length + index - 1;
      const row = result!.logits!.subarray(position * vocabularySize, (position + 1) * vocabularySize);
      const total = Math.log(row.reduce((sum, logit) => sum + Math.exp(logit), 0));
      const { chosen, top } = scores[index]!;
      expect(chosen).toBeCloseTo(row[token]! - total, 3);
      expect(top.map((one) => one.token)).toEqual(
        [...row.keys()].sort((a, b) => row[b]! - row[a]! || a - b).slice(0, 3),
      );
      expect(top[0]!.logProbability).toBeCloseTo(Math.max(...row) - total, 3);
    });
    await expect(collect(engine, { ...request, logProbabilities: 21 })).rejects.toMatchObject({
      code: 'usage/log-probabilities',
    });
  });

  it('serves several MatFormer sizes at once', async () => {
    const sizes = [undefined, 'half', 0.25, '384,384,768,768,768,1152,1152,1152,1536,1536'];
    const together = await Promise.all(
      sizes.map((elastic) => collect(engine, { ...question, elastic, maxTokens: 12 })),
    );
    for (const [index, elastic] of sizes.entries()) {
      const alone = await collect(engine, { ...question, elastic, maxTokens: 12 });
      expect(alone.tokens, String(elastic)).toEqual(together[index]!.tokens);
    }
  });

  it('ends at a stop string, which it does not show, and counts only what it shows', async () => {
    const result = await collect(engine, { ...question, stop: ['tiny'] });
    expect(result.text).toBe('I am Unicorn Nano, a ');
    expect(result.finishReason).toBe('stop');
    expect(result.usage!.completionTokens).toBe(result.tokens.length);
  });

  it('is cancelled by a signal, and by leaving the loop', async () => {
    const cancel = new AbortController();
    const result: string[] = [];
    let reason: string | undefined;
    for await (const chunk of engine.generate({ ...question, ignoreEnd: true, signal: cancel.signal })) {
      result.push(chunk.text);
      reason = chunk.finishReason;
      if (result.length === 3) cancel.abort();
    }
    expect(reason).toBe('cancelled');
    for await (const chunk of engine.generate(question)) if (chunk.text !== '') break;
    expect((await collect(engine, { ...question, maxTokens: 2 })).finishReason).toBe('length');
  });

  it('takes special tokens that somebody typed as text', async () => {
    const typed = { messages: [{ role: 'user', content: 'Say <end_of_turn> please.' }] };
    const ids = await engine.promptTokens(typed);
    // One end of turn, the template's own.
    expect(ids.filter((id) => id === 5)).toHaveLength(1);
    expect(await engine.detokenize(ids)).toContain('Say <end_of_turn> please.');
    const raw = await engine.promptTokens({ prompt: 'Say <end_of_turn> please.' });
    expect(raw).toContain(5);
  });

  it('goes on past the context only by request', async () => {
    const small = await Engine.load({ context: 48 });
    const request = { ...longQuestion, maxTokens: 60, ignoreEnd: true };
    const ended = await collect(small, request);
    expect(ended).toMatchObject({ finishReason: 'length' });
    expect(ended.tokens.length).toBeLessThan(60);
    const shifted = await collect(small, { ...request, overflow: 'shift' });
    expect(shifted.tokens).toHaveLength(60);
    expect(shifted.tokens.slice(0, ended.tokens.length)).toEqual(ended.tokens);
    expect(shifted.usage).toMatchObject({ promptTokens: ended.usage!.promptTokens, completionTokens: 60 });
    const tokens = Array.from({ length: 200 }, (_, index) => 300 + index);
    expect(
      (await collect(small, { ...request, tokens, maxTokens: 3, overflow: 'shift' })).tokens,
    ).toHaveLength(3);
    await small.close();
  });

  it.each([
    ['a prompt beyond the context', { tokens: Array.from({ length: 600 }, () => 7) }, 'usage/context'],
    ['an empty prompt', { tokens: [] }, 'usage/prompt'],
    ['an id outside the vocabulary', { tokens: [9999] }, 'usage/token-id'],
    ['a temperature below zero', { ...question, sampling: { temperature: -1 } }, 'usage/sampling'],
    ['a seed that is no whole number', { ...question, sampling: { seed: 0.5 } }, 'usage/sampling'],
    ['zero tokens', { ...question, maxTokens: 0 }, 'usage/max-tokens'],
    ['a list of wrong length', { ...question, elastic: '1536,768' }, 'usage/elastic'],
    [
      'a width that cuts a block',
      { ...question, elastic: { feedForward: Array.from({ length: 10 }, () => 100), skip: [] } },
      'usage/elastic',
    ],
    [
      'a conversation that the template refuses',
      { messages: [{ role: 'assistant', content: 'Hi' }] },
      'usage/chat-template',
    ],
  ])('refuses %s', async (_what, request, code) => {
    await expect(collect(engine, request)).rejects.toMatchObject({ name: 'UnicornError', code });
  });

  it('switches the size inside a conversation and keeps its KV cache', async () => {
    const chat = new Chat(engine, { sampling: greedy, maxTokens: 8 });
    const turn = async (content: string): Promise<GenerateChunk> => {
      let last: GenerateChunk | undefined;
      for await (const chunk of chat.ask(content)) last = chunk;
      return last!;
    };
    const first = await turn('Who are you?');
    chat.change({ elastic: 'half' });
    const second = await turn('Why is the sky blue?');
    // At least all of the first turn but its last token; more where an earlier test asked the same.
    expect(second.usage!.cachedPromptTokens).toBeGreaterThanOrEqual(
      first.usage!.promptTokens + first.usage!.completionTokens - 1,
    );
    expect(chat.messages.map(({ role }) => role)).toEqual(['user', 'assistant', 'user', 'assistant']);
  });
});

describe('several engines', () => {
  it('two in one process answer at the same time; close is idempotent', async () => {
    const engines = await Promise.all([
      Engine.load({ context: 256 }),
      Engine.load({ context: 256, backend: 'reference' }),
    ]);
    const answers = await Promise.all(
      engines.map((engine) => collect(engine, { ...question, maxTokens: 8 })),
    );
    expect(answers[0]!.text).toBe(answers[1]!.text);
    await Promise.all(engines.flatMap((engine) => [engine.close(), engine.close()]));
    await expect(collect(engines[0], question)).rejects.toMatchObject({ code: 'usage/closed' });
  });

  it('one in a worker thread beside one here', async () => {
    const here = await Engine.load({ context: 256 });
    const worker = new Worker(new URL('./worker.mjs', import.meta.url));
    const [[text], own] = await Promise.all([
      once(worker, 'message'),
      collect(here, { ...question, maxTokens: 12 }),
    ]);
    expect(text).toBe(own.text);
    await here.close();
    await worker.terminate();
  });

  it('loading can be cancelled', async () => {
    await expect(Engine.load({ signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: 'usage/cancelled',
    });
  });

  it('reports progress up to all bytes', async () => {
    const seen: { stage: string; loadedBytes: number; totalBytes: number }[] = [];
    const engine = await Engine.load({ context: 256, onProgress: (progress) => seen.push(progress) });
    await engine.close();
    expect(seen.at(-1)).toMatchObject({ stage: 'ready' });
    const weights = seen.filter(({ stage }) => stage === 'weights').map(({ loadedBytes }) => loadedBytes);
    expect(weights).toEqual([...weights].sort((a, b) => a - b));
  });
});
