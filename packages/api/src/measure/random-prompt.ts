/** Requests for measurements: prompts that no cache has seen, answers of a given length. */
import { throwIfCancelled } from '@unicorn-exec/tensor';
import type { Engine } from '../engine.js';
import type { GenerateChunk, GenerateRequest, Timings } from '../answer/request.js';

type Extra = Pick<GenerateRequest, 'elastic' | 'speculation' | 'signal'>;

/**
 * One greedy request to its end; its timings, and how much of its prompt was in the KV cache.
 *
 * @param turn a number that no request before had: the prompt differs from the first token on, or the KV cache would
 * answer for the prefill. A longer prompt of the same turn begins with the shorter one
 * @throws UnicornError `usage/cancelled` when the signal ended it: half a measurement is none
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
  let last: GenerateChunk | undefined;
  for await (const chunk of engine.generate(request)) last = chunk;
  // A cancelled request ends with timings too, of which nothing can be said.
  throwIfCancelled(extra.signal, 'The measurement');
  return { ...last!.timings!, cachedPromptTokens: last!.usage!.cachedPromptTokens };
}
