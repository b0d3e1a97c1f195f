/** What a caller asks for and gets: requests, events, usage, timings. Checked here, before anything is queued. */
import { UnicornError, type ElasticSize } from '@unicorn-exec/tensor';
import type { SpeculationOptions, SpeculationUsage } from './draft/speculation.js';
import type { Reuse } from './kv/prefix-search.js';
import type { PromptSpan } from './prompt-span.js';
import type { SamplingParameters } from './sampling-parameters.js';

/**
 * Which tokens may come next: one bit for each id, bit `id % 32` of word `id / 32`, `ceil(vocabularySize / 32)` words;
 * undefined allows all. Called before each token with the tokens generated so far. A grammar's hook.
 */
export type TokenMask = (generated: readonly number[]) => Int32Array | undefined;

/**
 * As {@link TokenMask}, for masks that take time: called when the step that computes the logits was submitted, so that the
 * mask is made while the device works. Others in the batch go on meanwhile, however long it takes. Where it rejects, the
 * request fails with that. The array is the callee's.
 */
export type LateTokenMask = (generated: number[]) => Promise<Int32Array | undefined>;

export interface GenerateRequest {
  /** The prompt. At least one id, fewer than the context length. */
  readonly tokens: ArrayLike<number>;
  /**
   * Positions of the prompt that belong together, in order: those of an image or a sound, whose rows are given. Default:
   * none.
   */
  readonly spans?: readonly PromptSpan[] | undefined;
  /** Default: as many as the context (and the KV pool) can take. */
  readonly maxTokens?: number | undefined;
  readonly sampling?: SamplingParameters | undefined;
  /** Ids that end the sequence. The id itself is reported, with `stop: true`. */
  readonly stopIds?: Iterable<number> | undefined;
  /** Ends the request with `cancelled`, whether it is queued, in prefill or decoding. */
  readonly signal?: AbortSignal | undefined;
  /** Slices of the model; the full model by default. */
  readonly size?: ElasticSize | undefined;
  readonly mask?: TokenMask | undefined;
  /** In the place of `mask`, where masks take time; not with `speculation`, whose guesses would have to wait for them. */
  readonly lateMask?: LateTokenMask | undefined;
  /**
   * Also yields the log-probability of each token, and of so many best tokens at its place: 0 for the token alone, at most
   * {@link maxTopLogProbabilities}. Default: none are computed. A device that cannot compute them fails the request with
   * `unsupported/op`.
   */
  readonly logProbabilities?: number | undefined;
  /**
   * What the prefix cache may give. `exact` (default) never changes a result. `sameSize` also continues from keys and
   * values that the same size computed in another class of bits, as those of an answer where a device computes prompts and
   * answers differently; `anySize` from those of another size, too: the conversation goes on, the numbers differ from those
   * of a fresh prefill.
   */
  readonly reuse?: Reuse | undefined;
  /**
   * Whom the prefix cache connects. Default: all requests. `none`: this one takes nothing over and leaves nothing behind.
   * A salt: those of the same salt alone, so that nobody can tell from the time of an answer what others have asked.
   */
  readonly cache?: CacheScope | undefined;
  /** Of those that wait, the higher is admitted first; among equals the older. A whole number, default 0. */
  readonly priority?: number | undefined;
  /**
   * Guess tokens cheaply and check several in one step. Changes no token, drawn ones neither, only when they come. A
   * `mask` is then also asked about guesses that may turn out wrong, so it must depend on its argument alone.
   */
  readonly speculation?: SpeculationOptions | undefined;
}

/** See {@link GenerateRequest.cache}. */
export type CacheScope = 'none' | { readonly salt: string };

/** What {@link GenerateRequest.logProbabilities} may ask for at most: OpenAI's limit. */
export const maxTopLogProbabilities = 20;

/**
 * Natural logarithms of probabilities under the raw logits: the model's own, before bias, penalties, mask, temperature and
 * filters.
 */
export interface TokenLogProbabilities {
  /** Log-probability of the token itself. */
  readonly chosen: number;
  /** The best tokens, best first, of equal ones the lower id; as many as were asked for. */
  readonly top: readonly { readonly token: number; readonly logProbability: number }[];
}

export type FinishReason = 'stop' | 'length' | 'cancelled';

export interface Usage {
  readonly promptTokens: number;
  /** Those of the prompt that came from the prefix cache. */
  readonly cachedPromptTokens: number;
  /** Sampled tokens, a stop id included. */
  readonly completionTokens: number;
}

/** Milliseconds. What was never reached is 0. */
export interface Timings {
  /** From the request until it was admitted. */
  readonly queueMs: number;
  /** From then until the first token. */
  readonly prefillMs: number;
  /** From the first token to the last. */
  readonly decodeMs: number;
  /** From the request until the first token. */
  readonly firstTokenMs: number;
}

export type GenerationEvent =
  | {
      readonly kind: 'token';
      readonly token: number;
      /** Index in the sequence, the prompt counted. */
      readonly position: number;
      /** True for a stop id, which is usually not shown. The end follows. */
      readonly stop: boolean;
      /** Where they were asked for. */
      readonly logProbabilities?: TokenLogProbabilities;
    }
  | {
      readonly kind: 'end';
      readonly finishReason: FinishReason;
      readonly usage: Usage;
      readonly timings: Timings;
      /** When it was asked for. */
      readonly speculation?: SpeculationUsage;
      /** As given, or as drawn: with it the same request gives the same tokens. */
      readonly seed: number | bigint;
    };

/** Tokens as they are sampled, then one end. Leaving the loop early cancels the request. */
export interface Generation extends AsyncIterableIterator<GenerationEvent> {
  readonly seed: number | bigint;
}

export interface ForwardOptions {
  /** `all`: logits of every token. `none`: only what else is asked for. */
  readonly logits: 'all' | 'none';
  /** Also the hidden states of every layer. */
  readonly hidden?: boolean | undefined;
  readonly size?: ElasticSize | undefined;
  /** Spans of each sequence, as those of a request's prompt. Default: none. */
  readonly spans?: readonly (readonly PromptSpan[])[] | undefined;
  /**
   * What the prefix cache may give, and whether it gets the sequence in return. `none` (default) computes every row and
   * leaves the cache as it is. Else positions that were taken over have no rows; the last token is always computed. With
   * `anySize` these may be another size's keys and values: the rows are what that size's context makes of this one.
   */
  readonly reuse?: Reuse | undefined;
  /** Receives each chunk's rows and nothing is collected: memory stays that of one chunk. Must not throw. */
  readonly onRows?: ((rows: ForwardRows) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Consecutive rows of one sequence. The arrays are valid until the callback returns. */
export interface ForwardRows {
  /** Index of the sequence in the call. */
  readonly sequence: number;
  /** Position of the first row. */
  readonly position: number;
  readonly count: number;
  /** f32 [count, vocabularySize] */
  readonly logits?: Float32Array;
  /** `hidden.<L>` to f32 [count, features] */
  readonly hidden?: Readonly<Record<string, Float32Array>>;
}

/** What was computed of one sequence; both absent when `onRows` took the rows. `tokens` are those after the ones taken over. */
export interface ForwardResult {
  /** Positions taken over from the prefix cache, which have no rows; absent when there are none. */
  readonly reusedTokens?: number;
  /** f32 [tokens, vocabularySize] */
  readonly logits?: Float32Array;
  /** `hidden.<L>` to f32 [tokens, features] */
  readonly hidden?: Readonly<Record<string, Float32Array>>;
}

/**
 * The ids as an array of our own.
 *
 * @throws UnicornError `usage/prompt` when there are none, `usage/token-id` for one outside the vocabulary
 */
export function checkTokens(tokens: ArrayLike<number>, vocabularySize: number): number[] {
  if (tokens.length === 0) {
    throw new UnicornError(
      'usage/prompt',
      'The prompt has no tokens, so there is nothing to continue from.',
      {
        fix: 'Give at least one token; models usually begin with their beginning-of-text id.',
      },
    );
  }
  return Array.from(tokens, (id, index) => {
    if (Number.isInteger(id) && id >= 0 && id < vocabularySize) return id;
    throw new UnicornError(
      'usage/token-id',
      `Token ${String(id)} at index ${index} is not in the vocabulary.`,
      {
        fields: { token: String(id), index, vocabularySize },
        fix: `Token ids are whole numbers from 0 to ${vocabularySize - 1}; use the tokenizer of this model.`,
      },
    );
  });
}

/** @throws UnicornError `usage/context` when the tokens (and `room` more) exceed the context */
export function checkContext(promptTokens: number, contextLength: number, room: number): void {
  if (promptTokens + room <= contextLength) return;
  const least = promptTokens + room;
  throw new UnicornError(
    'usage/context',
    `The prompt has ${promptTokens} tokens; the context holds ${contextLength}${room > 0 ? ', the answer included' : ''}.`,
    {
      fields: { promptTokens, contextLength },
      fix: `Shorten the prompt, or load the model with a context of at least ${least} if it was made for one.`,
    },
  );
}

/** @throws UnicornError `usage/mask` beside a mask, `usage/speculation` beside guesses */
export function checkLateMask({ lateMask, mask, speculation }: GenerateRequest): void {
  if (!lateMask) return;
  if (mask) {
    throw new UnicornError('usage/mask', 'A request has a mask or a late mask, not both.', {
      fix: 'Have one of them allow what both would.',
    });
  }
  if (!speculation) return;
  throw new UnicornError('usage/speculation', 'A request whose mask comes late cannot guess ahead.', {
    fix: 'Leave `speculation` out, or give a `mask` that answers at once.',
  });
}

/** @throws UnicornError `usage/max-tokens` unless it is a whole number from 1 */
export function checkMaxTokens(maxTokens: number | undefined): void {
  if (maxTokens === undefined || (Number.isSafeInteger(maxTokens) && maxTokens >= 1)) return;
  throw new UnicornError('usage/max-tokens', `maxTokens cannot be ${String(maxTokens)}.`, {
    fields: { maxTokens: String(maxTokens) },
    fix: 'Give a whole number from 1, or leave it out to use the rest of the context.',
  });
}

/**
 * Best tokens whose log-probabilities a program computes for a request: all that may be asked for where any are, so that
 * few programs are compiled. Undefined: none.
 *
 * @throws UnicornError `usage/log-probabilities` unless it is a whole number in its range
 */
export function checkLogProbabilities(asked: number | undefined, vocabularySize: number): number | undefined {
  if (asked === undefined) return undefined;
  const most = Math.min(maxTopLogProbabilities, vocabularySize);
  if (Number.isSafeInteger(asked) && asked >= 0 && asked <= most) return asked === 0 ? 0 : most;
  throw new UnicornError(
    'usage/log-probabilities',
    `Log-probabilities of ${String(asked)} best tokens cannot be given.`,
    {
      fields: { logProbabilities: String(asked), most },
      fix: `Give a whole number from 0, for the sampled token alone, to ${most}.`,
    },
  );
}

/** @throws UnicornError `usage/priority` unless it is a whole number */
export function checkPriority(priority = 0): number {
  if (Number.isSafeInteger(priority)) return priority;
  throw new UnicornError('usage/priority', `The priority cannot be ${String(priority)}.`, {
    fields: { priority: String(priority) },
    fix: 'Give a whole number; the higher is admitted first, and the default is 0.',
  });
}

/** @throws UnicornError `usage/cache` unless it is `none` or has a salt */
export function checkCache(cache: CacheScope | undefined): CacheScope | undefined {
  if (cache === undefined || cache === 'none' || typeof cache?.salt === 'string') return cache;
  throw new UnicornError('usage/cache', 'The scope of the prefix cache is neither "none" nor {salt}.', {
    fix: 'Give "none", {salt: "a string"}, or nothing.',
  });
}
