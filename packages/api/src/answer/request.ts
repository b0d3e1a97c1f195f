/** What a caller may ask of an engine, and what comes back. */
import type { ChatMessage, ElasticSpec } from '@unicorn-exec/models';
import type { SamplingParameters, SpeculationUsage, TokenLogProbabilities } from '@unicorn-exec/scheduler';
import type { ProfileEntry } from '@unicorn-exec/tensor';
import {
  abortSignal,
  choice,
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
} from '../option.js';

export interface Speculation {
  /** What guesses: a smaller MatFormer size of the same model, or `ngram`: repetitions of the text so far. */
  readonly draft: ElasticSpec | 'ngram';
  /** Tokens guessed in one step at most, 1 to 16. Default 7. */
  readonly maxTokens?: number | undefined;
  /** Default true: as many as pay, by measured times and acceptance, often none. False: always `maxTokens`. */
  readonly adaptive?: boolean | undefined;
}

interface GenerateOptions {
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
  /** Strings that end the answer; never part of it. */
  readonly stop?: readonly string[] | undefined;
  /** Cancels the request; the stream then ends with the finish reason `cancelled`. */
  readonly signal?: AbortSignal | undefined;
}

/** One of `messages` (rendered by the model's chat template), `prompt` (raw text) or `tokens` (ids as they are). */
export type GenerateRequest = GenerateOptions &
  (
    | {
        readonly messages: readonly ChatMessage[];
        readonly tools?: readonly unknown[] | undefined;
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

export const generateOptionTable: OptionTable<GenerateRequest> = {
  messages: list,
  tools: list,
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
  stop: listOf(text),
  signal: abortSignal,
};

export type FinishReason = 'stop' | 'length' | 'cancelled';

export interface Usage {
  readonly promptTokens: number;
  /** Prompt tokens whose keys and values were still in the cache. */
  readonly cachedPromptTokens: number;
  readonly completionTokens: number;
}

export interface Timings {
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
  /** Also on the last chunk, when it was asked for. */
  readonly speculation?: SpeculationUsage;
}

export interface EngineStats {
  readonly requests: number;
  readonly promptTokens: number;
  readonly cachedPromptTokens: number;
  readonly completionTokens: number;
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
