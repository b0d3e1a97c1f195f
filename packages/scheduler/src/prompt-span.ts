/** Spans of a prompt as a caller gives them: an image's or a sound's tokens. Checked here, before anything is queued. */
import { UnicornError } from '@unicorn-exec/tensor';
import type { PrefixKey } from './kv/kv-sequence.js';
import type { TokenSpan } from './kv/token-span.js';

/**
 * Positions of a prompt, from `begin` to `end` (exclusive), that belong together: one submission computes them, and the
 * prefix cache gives all of them or none.
 */
export interface PromptSpan extends TokenSpan {
  /**
   * Names the content, for example by its hash: the prefix cache takes such positions for equal when their keys are, and
   * does not look at their ids. Equal keys must mean equal rows and an equal `twoWay`.
   */
  readonly key: string;
  /**
   * f32 [end - begin, features], in the model's own scale: given in the place of the embeddings. The ids of these positions
   * are then the model's placeholder where it has one, else 0.
   */
  readonly rows?: Float32Array | undefined;
  /** Whether every token of the span sees all of it, not only what comes before. Default false. */
  readonly twoWay?: boolean | undefined;
}

/**
 * The spans as an array of our own.
 *
 * @param promptTokens length of the prompt
 * @param chunk tokens that one submission takes at most
 * @throws UnicornError `usage/span` for one that is empty, out of order or outside the prompt, has no key, rows of another
 * length, or more tokens than one submission takes
 */
export function checkSpans(
  spans: readonly PromptSpan[] | undefined,
  promptTokens: number,
  chunk: number,
): readonly PromptSpan[] {
  let before = 0;
  let features: number | undefined;
  return Array.from(spans ?? [], (span, index) => {
    const { begin, end, key, rows } = span;
    const refuse = (what: string, fix: string): never => {
      throw new UnicornError('usage/span', `Span ${index} of the prompt ${what}.`, {
        fields: { index, begin, end, promptTokens, chunk },
        fix,
      });
    };
    if (!Number.isSafeInteger(begin) || !Number.isSafeInteger(end) || begin < before || end <= begin) {
      refuse(
        'is empty or out of order',
        'Give spans in order, each from its first token to behind its last.',
      );
    }
    if (end > promptTokens) refuse(`ends behind the prompt`, `Give an end of at most ${promptTokens}.`);
    if (typeof key !== 'string' || key === '') refuse('has no key', 'Give a hash of its content.');
    const tokens = end - begin;
    if (tokens > chunk) {
      refuse(
        `has ${tokens} tokens; one submission takes ${chunk}`,
        `Make the span shorter, or let prompts be computed in chunks of at least ${tokens} tokens.`,
      );
    }
    if (rows) {
      const width = rows.length / tokens;
      if (!(rows instanceof Float32Array) || !Number.isInteger(width) || width === 0) {
        refuse('has rows that are not f32 [tokens, features]', 'Give one row of features for each token.');
      }
      if (width !== (features ??= width))
        refuse('has rows of other features than those before', 'Give rows of one model.');
    }
    before = end;
    return span;
  });
}

/** What the positions of a prompt are to the prefix cache: the ids themselves, the same array, where there are no spans. */
export function prefixKeys(tokens: number[], spans: readonly PromptSpan[]): PrefixKey[] {
  if (spans.length === 0) return tokens;
  const keys: PrefixKey[] = [...tokens];
  for (const { begin, end, key } of spans) keys.fill(key, begin, end);
  return keys;
}

/**
 * The keys of a sequence that has a prefix in common only with sequences of the same salt: the first position, without
 * which there is no common prefix, is another one for each salt. Its key begins with a character that no hash has.
 */
export function saltedKeys(keys: readonly PrefixKey[], salt: string): PrefixKey[] {
  return [`\0${JSON.stringify([salt, keys[0]])}`, ...keys.slice(1)];
}

/** Position behind the last span; 0 when there are none. */
export function endOfSpans(spans: readonly PromptSpan[]): number {
  return spans.at(-1)?.end ?? 0;
}
