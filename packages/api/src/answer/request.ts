/** What a caller may ask of an engine, and what comes back. */
import type { ChatMessage, ElasticSpec } from '@unicorn-exec/models';
import type {
  CacheScope,
  KvGroupStats,
  SamplingParameters,
  SpeculationUsage,
  TokenLogProbabilities,
} from '@unicorn-exec/scheduler';
import type { ProfileEntry } from '@unicorn-exec/tensor';
import {
  abortSignal,
  choice,
  either,
  flag,
  integer,
  list,
  listOf,
  number,
  optionsOf,
  record,
  required,
  size,
  text,
  tokenIds,
  type OptionTable,
  type Rule,
} from '../option.js';

export interface Speculation {
  /** What guesses: a smaller MatFormer size of the same model, or `ngram`: repetitions of the text so far. */
  readonly draft: ElasticSpec | 'ngram';
  /** Tokens guessed in one step at most, 1 to 16. Default 7. */
  readonly maxTokens?: number | undefined;
  /** Default true: as many as pay, by measured times and acceptance, often none. False: always `maxTokens`. */
  readonly adaptive?: boolean | undefined;
}

export interface GenerateOptions {
  /** MatFormer size: a preset's name, a fraction, or per-layer widths. Default: the whole model. */
  readonly elastic?: ElasticSpec | undefined;
  /** Over the model's own defaults. */
  readonly sampling?: SamplingParameters | undefined;
  /** Tokens to generate at most. Default: what is left of the context. */
  readonly maxTokens?: number | undefined;
  /**
   * When the context is full: `refuse` (default) refuses a longer prompt and ends the answer with `length`; `shift`
   * forgets the oldest tokens and goes on, until the model stops, `maxTokens` or the signal.
   */
  readonly overflow?: 'refuse' | 'shift' | undefined;
  /** Go on after end-of-turn ids (for measurements). Default false. */
  readonly ignoreEnd?: boolean | undefined;
  /**
   * Default `exact`: a cache hit never changes a result. `sameSize` also continues from keys and values that the same size
   * computed as an answer where a device computes prompts and answers in different classes of bits; `anySize` from those
   * of another MatFormer size, too, as a conversation that switches sizes does.
   */
  readonly reuse?: 'exact' | 'sameSize' | 'anySize' | undefined;
  /** Guess tokens ahead and check several in one step: faster where guesses are good, and never another answer. */
  readonly speculation?: Speculation | undefined;
  /**
   * Also gives the log-probability of each token under the model's raw logits, and of so many best tokens at its place: 0
   * for the token alone, at most 20. Default: none are computed. A device that cannot compute them fails the request with
   * `unsupported/op`.
   */
  readonly logProbabilities?: number | undefined;
  /**
   * Whom the prefix cache connects. Default: all requests. `none`: this one takes nothing over and leaves nothing behind. A
   * salt: those of the same salt alone, so that nobody can tell from the time of an answer what others have asked.
   */
  readonly cache?: CacheScope | undefined;
  /** Of the requests that wait, those with the higher one are admitted first; among equals the older. Default 0. */
  readonly priority?: number | undefined;
  /** A string or strings that end the answer; never part of it. The last chunk says which one did. */
  readonly stop?: string | readonly string[] | undefined;
  /**
   * Cancels the request; the stream then ends with the finish reason `cancelled`, whether the request waits, is in prefill
   * or decodes. What was computed but not read is left out.
   */
  readonly signal?: AbortSignal | undefined;
  /**
   * When the request ends with the finish reason `deadline`, whether it waits, is in prefill or decodes: milliseconds from
   * the first `next()`, or a point in time. Default: never.
   */
  readonly deadline?: number | Date | undefined;
}

/** One of `messages` (rendered by the model's chat template), `prompt` (raw text) or `tokens` (ids as they are). */
export type GenerateRequest = GenerateOptions &
  (
    | {
        readonly messages: readonly ChatMessage[];
        /**
         * JSON schemas of functions, as the template expects them; or the text of a JSON array, which keeps its numbers and
         * the order of its keys. A template that ignores tools is reported in `warnings` of the last chunk.
         */
        readonly tools?: readonly unknown[] | string | undefined;
        /** Extra variables of the chat template, for example `enable_thinking`. */
        readonly templateOptions?: Readonly<Record<string, unknown>> | undefined;
      }
    | { readonly prompt: string }
    | { readonly tokens: readonly number[] }
  );

export const samplingTable: OptionTable<SamplingParameters> = {
  temperature: number,
  topK: number,
  topP: number,
  minP: number,
  typicalP: number,
  repetitionPenalty: number,
  presencePenalty: number,
  frequencyPenalty: number,
  logitBias: record,
  seed: integer,
};

export const speculationTable: OptionTable<Speculation> = {
  draft: required(size),
  maxTokens: number,
  adaptive: flag,
};

export const stopRule: Rule = either(text, listOf(text));

/** `none`, or a salt alone: the scheduler checks it again for its own callers. */
export const cacheRule: Rule = {
  expected: '"none" or {salt: a string}',
  accepts: (value) =>
    value === 'none' ||
    (record.accepts(value) &&
      Object.keys(value as object).join() === 'salt' &&
      text.accepts((value as { salt: unknown }).salt)),
};

const deadlineRule: Rule = {
  expected: 'a number of milliseconds from 0, or a Date',
  accepts: (value) =>
    value instanceof Date ? !Number.isNaN(value.getTime()) : Number.isFinite(value) && (value as number) >= 0,
};

export const generateOptionTable: OptionTable<GenerateRequest> = {
  messages: list,
  tools: either(list, text),
  templateOptions: record,
  prompt: text,
  tokens: tokenIds,
  elastic: size,
  sampling: optionsOf(samplingTable),
  maxTokens: number,
  overflow: choice('refuse', 'shift'),
  ignoreEnd: flag,
  reuse: choice('exact', 'sameSize', 'anySize'),
  speculation: optionsOf(speculationTable),
  logProbabilities: number,
  cache: cacheRule,
  priority: number,
  stop: stopRule,
  signal: abortSignal,
  deadline: deadlineRule,
};

/**
 * `stop`: the model ended its turn, or a stop string came. `length`: `maxTokens` or the context. `cancelled`: the signal,
 * or the engine was closed. `deadline`: the request's own.
 */
export type FinishReason = 'stop' | 'length' | 'cancelled' | 'deadline';

/**
 * How a request ended: as its last chunk said; or without one, because its reader left the stream (`left`), it was never
 * accepted (`refused`), or it failed under way (`failed`).
 */
export type EndReason = FinishReason | 'left' | 'refused' | 'failed';

export interface Usage {
  readonly promptTokens: number;
  /** Prompt tokens whose keys and values were still in the cache. */
  readonly cachedPromptTokens: number;
  readonly completionTokens: number;
}

export interface Timings {
  /** From the call until memory was given to the request, or until its end where that came first. */
  readonly queueMs: number;
  /** From the call to the first token. */
  readonly ttftMs: number;
  /** Tokens computed in prefill (cached ones left out) per second. */
  readonly prefillTokensPerSecond: number;
  /** Tokens after the first per second. */
  readonly decodeTokensPerSecond: number;
}

/** A piece of the answer. `text` may be empty while a character or a possible stop string is incomplete. */
export interface GenerateChunk {
  readonly text: string;
  /** What the model thinks before it answers (between `<think>` and `</think>`), where it does. Not part of `text`. */
  readonly reasoning?: string;
  /** Ids since the last chunk, the ids that ended the answer included. */
  readonly tokens: readonly number[];
  /** One for each of the tokens, where they were asked for. */
  readonly logProbabilities?: readonly TokenLogProbabilities[];
  /** On the last chunk, with `usage` and `timings`. */
  readonly finishReason?: FinishReason;
  readonly usage?: Usage;
  readonly timings?: Timings;
  /** Also on the last chunk: the stop string that ended the answer, where one did. */
  readonly stopString?: string;
  /** Also on the last chunk: sentences about what the request asked for and the model ignores. Absent: none. */
  readonly warnings?: readonly string[];
  /** Also on the last chunk, when it was asked for. */
  readonly speculation?: SpeculationUsage;
}

/** A request at its end. */
export interface FinishedRequest {
  /** The very object that `generate` was given. */
  readonly request: GenerateRequest;
  readonly reason: EndReason;
  /** Tokens as they were delivered: an id that nobody read is not counted. Zeros for a request that was refused. */
  readonly usage: Usage;
  /** What was never reached is 0. */
  readonly timings: Timings;
  /** The stop string that ended the answer. */
  readonly stopString?: string;
  /** Of a request that was refused or failed. */
  readonly error?: Error;
}

export interface EngineStats {
  /** Requests that were begun, whatever became of them: those that ended, and `active` ones. */
  readonly requests: number;
  /** Those of them that have not ended. */
  readonly active: number;
  /** How many ended in which way. */
  readonly ends: Readonly<Record<EndReason, number>>;
  /** Sequences that compute, and those that wait for their turn or for memory; a request has one of either. */
  readonly running: number;
  readonly queued: number;
  /** Times that a sequence had to give its memory to an older one, and started again from its tokens. */
  readonly preemptions: number;
  /** Sums of the usages of ended requests: what was delivered. */
  readonly promptTokens: number;
  readonly cachedPromptTokens: number;
  readonly completionTokens: number;
  /** Memory of keys and values. */
  readonly kv: {
    /** Share that running sequences hold of the fullest group of layers, 0 to 1. */
    readonly use: number;
    /** Ended sequences that later ones may continue from, and their tokens. They give way to whoever needs memory. */
    readonly idleSequences: number;
    readonly idleTokens: number;
    /** Blocks of each group of layers. */
    readonly groups: readonly KvGroupStats[];
  };
  readonly speculation: SpeculationUsage;
  readonly memory: {
    readonly weightBytes: number;
    readonly kvBytes: number;
    readonly scratchBytes: number;
  };
}

/** One of the programs that a scheduler compiles: a model's graph of one size with what follows it. */
export interface ProgramProfile {
  readonly program: string;
  readonly steps: readonly ProfileEntry[];
}
