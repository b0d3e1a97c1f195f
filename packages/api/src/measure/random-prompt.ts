/** Requests for measurements: prompts that no cache has seen, answers of a given length. */
import type { Engine } from '../engine.js';
import type { GenerateRequest, Timings } from '../answer/request.js';

type Extra = Pick<GenerateRequest, 'elastic' | 'speculation' | 'signal'>;

/**
 * One greedy request to its end; its timings, all NaN when it was cancelled before any, and how much of its prompt was in
 * the KV cache.
 *
 * @param turn a number that no request before had: the prompt differs from the first token on, or the KV cache would
 * answer for the prefill. A longer prompt of the same turn begins with the shorter one
 */
export async function generateRandom(
  engine: Engine,
  promptTokens: number,
  maxTokens: number,
  turn: number,
  extra: Extra,
): Promise<Timings & { readonly cachedPromptTokens: number }> {
  // Primes: ids spread evenly over the vocabulary.
  const tokens = Array.from(
    { length: promptTokens },
    (_, index) => ((index + 1) * 7919 + (turn + 1) * 104729) % engine.model.vocabularySize,
  );
  const request = { ...extra, tokens, maxTokens, sampling: { temperature: 0 }, ignoreEnd: true };
  for await (const { timings, usage } of engine.generate(request)) {
    if (timings) return { ...timings, cachedPromptTokens: usage?.cachedPromptTokens ?? 0 };
  }
  return {
    queueMs: NaN,
    ttftMs: NaN,
    prefillTokensPerSecond: NaN,
    decodeTokensPerSecond: NaN,
    cachedPromptTokens: 0,
  };
}
