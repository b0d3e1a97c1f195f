/**
 * The Engine facade: a model on a device, text in and text out. It joins `models` (what the text means), `scheduler`
 * (when tokens are computed) and a backend (where); it adds stop strings and the choice of context, nothing else.
 */
import { EventEmitter } from 'eventemitter3';
import { isUnicornError, throwIfCancelled, UnicornError } from '@unicorn-exec/tensor';
import {
  openModel,
  resolveSize,
  type Conversation,
  type EncodeOptions,
  type PromptParts,
  type Model,
  type Tokenizer,
} from '@unicorn-exec/models';
import type {
  ForwardOptions,
  ForwardResult,
  SamplingParameters,
  SpeculationOptions,
} from '@unicorn-exec/scheduler';
import { AnswerText } from './answer/answer-text.js';
import { generateShifting } from './answer/context-shift.js';
import { encodePrompt, promptTokens, renderParts } from './answer/prompt.js';
import {
  generateOptionTable,
  type EngineStats,
  type GenerateChunk,
  type GenerateRequest,
  type ProgramProfile,
  type Timings,
  type Usage,
} from './answer/request.js';
import { StopText } from './answer/stop-text.js';
import { summarizeTimings } from './answer/timings.js';
import type { ContextChoice } from './machine/context-length.js';
import {
  loadOptionTable,
  type BackendSummary,
  type KvType,
  type LoadOptions,
  type LoadTimes,
} from './machine/load-options.js';
import { LastingRuntime } from './machine/lasting-runtime.js';
import { locateModel } from './model-location.js';
import {
  abortSignal,
  callback,
  checkArgument,
  checkOptions,
  choice,
  flag,
  list,
  listOf,
  record,
  required,
  text,
  tokenIds,
  type OptionTable,
} from './option.js';

/** Requests that a desktop user has in flight at once; each costs a row of history, not KV, until it is used. */
const defaultMaxSequences = 4;

/** Where a model's makers recommend nothing: llama.cpp's defaults, which its users know. */
const fallbackSampling: SamplingParameters = { temperature: 0.8, topK: 40, topP: 0.95, minP: 0.05 };

const encodeOptionTable: OptionTable<EncodeOptions> = { special: flag, literal: list };

const forwardOptionTable: OptionTable<ForwardOptions> = {
  logits: required(choice('all', 'none')),
  hidden: flag,
  size: record,
  spans: list,
  reuse: choice('none', 'exact', 'sameSize', 'anySize'),
  onRows: callback,
  signal: abortSignal,
};

export interface EngineEvents {
  /** After each request, also a cancelled one. */
  finished: [{ readonly usage: Usage; readonly timings: Timings }];
  /**
   * Another device computes from now on: the CPU in the place of one that was lost (`fallback` says which and why), or that
   * one again.
   */
  moved: [BackendSummary];
}

export class Engine extends EventEmitter<EngineEvents> {
  readonly context: ContextChoice;
  readonly kvType: KvType;
  readonly loadTimes: LoadTimes;
  #requests = 0;
  #totals: Usage = { promptTokens: 0, cachedPromptTokens: 0, completionTokens: 0 };
  #closing: Promise<void> | undefined;

  private constructor(
    readonly model: Model,
    private readonly runtime: LastingRuntime,
    kvType: KvType,
  ) {
    super();
    const { placement, loadTimes } = runtime.latest;
    this.loadTimes = loadTimes;
    this.context = placement.context;
    this.kvType = kvType;
    runtime.onMoved = () => this.emit('moved', this.backend);
  }

  /** Where it computes at present. Changes only when a device is lost. */
  get backend(): BackendSummary {
    const { device, fallback, split } = this.runtime.latest.placement;
    const { backend, id, name, threads } = device.info;
    return {
      name: backend,
      device: name,
      deviceId: id,
      ...(threads === undefined ? {} : { threads }),
      ...(fallback ? { fallback } : {}),
      ...(split ? { split } : {}),
    };
  }

  /**
   * Opens a model on a device.
   *
   * @throws UnicornError `usage/option` (an unknown option, or one of a wrong type), `usage/model` (no such model), `format/*` (a damaged file), `unsupported/*` (an unknown
   * architecture or backend), `resource/memory` (does not fit), `usage/cancelled` (the signal)
   */
  static async load(options: LoadOptions = {}): Promise<Engine> {
    checkOptions('Engine.load', options, loadOptionTable);
    const path = await locateModel(options.model);
    const model = await openModel(path);
    try {
      throwIfCancelled(options.signal, 'Loading');
      const kvType = options.kvType ?? 'f16';
      const maxSequences = options.maxSequences ?? defaultMaxSequences;
      const runtime = await LastingRuntime.open(model, { ...options, kvType, maxSequences });
      return new Engine(model, runtime, kvType);
    } catch (error) {
      await model.close();
      throw error;
    }
  }

  /**
   * Generates an answer as a stream of chunks; the last one carries `finishReason`, `usage` and `timings`. Leaving the
   * loop early cancels the request.
   *
   * @throws UnicornError `usage/context` when the prompt does not fit, `usage/*` for impossible parameters,
   * `unsupported/chat-template` for messages to a model without a template, `device/lost` when the device stops under it
   * and no other takes over; a later request finds the device opened anew
   */
  async *generate(request: GenerateRequest): AsyncGenerator<GenerateChunk, void, undefined> {
    checkArgument('Engine.generate', 'request', request, required(record));
    checkOptions('Engine.generate', request, generateOptionTable);
    this.#expectOpen();
    const stops = new StopText(request.stop ?? []);
    const tokens = await promptTokens(this.model, request);
    const tokenizer = await this.#tokenizerFor(request);
    const answer = new AnswerText(tokenizer, tokens, stops);
    const cancel = new AbortController();
    const signal = request.signal ? AbortSignal.any([request.signal, cancel.signal]) : cancel.signal;
    const size = request.elastic === undefined ? undefined : resolveSize(this.model, request.elastic);
    this.#requests++;
    const runtime = await this.runtime.enter();
    const { scheduler } = runtime;
    let finished = false;
    let completionTokens = 0;
    try {
      const scheduled = {
        tokens,
        sampling: { ...this.samplingDefaults, ...request.sampling },
        stopIds: request.ignoreEnd ? [] : this.model.endOfTurnIds,
        maxTokens: request.maxTokens,
        reuse: request.reuse,
        logProbabilities: request.logProbabilities,
        signal,
        size,
        speculation: this.#speculation(request),
      };
      const events =
        request.overflow === 'shift'
          ? generateShifting(scheduler, scheduled, this.context.contextLength)
          : scheduler.generate(scheduled);
      for await (const event of events) {
        if (event.kind === 'token') {
          // Tokens that were computed before the cancellation reached the scheduler are not part of the answer.
          if (answer.isStopped) continue;
          completionTokens++;
          const piece = event.stop ? { text: '' } : answer.push(event.token);
          if (answer.isStopped) cancel.abort();
          yield event.logProbabilities
            ? { ...piece, tokens: [event.token], logProbabilities: [event.logProbabilities] }
            : { ...piece, tokens: [event.token] };
          continue;
        }
        finished = true;
        const usage: Usage = { ...event.usage, completionTokens };
        const timings = summarizeTimings(event.timings, usage);
        this.#count(usage);
        this.emit('finished', { usage, timings });
        const finishReason = answer.isStopped ? 'stop' : event.finishReason;
        const speculation = event.speculation ? { speculation: event.speculation } : {};
        yield { ...answer.end(), tokens: [], finishReason, usage, timings, ...speculation };
      }
    } catch (error) {
      this.runtime.noteFailure(runtime, error);
      throw error;
    } finally {
      if (!finished) cancel.abort();
      this.runtime.leave();
    }
  }

  /**
   * The ids that a request's prompt becomes: the chat template's output, or raw text behind the model's BOS.
   *
   * @throws UnicornError as {@link renderParts}; `usage/option` for a request without any prompt
   */
  async promptTokens(request: GenerateRequest): Promise<number[]> {
    checkArgument('Engine.promptTokens', 'request', request, required(record));
    checkOptions('Engine.promptTokens', request, generateOptionTable);
    return promptTokens(this.model, request);
  }

  /**
   * Ids of a whole prompt, behind the model's BOS unless the text begins with it. Special tokens are recognized but in
   * the literal ranges.
   *
   * @throws UnicornError `usage/option`
   */
  async encodePrompt(parts: PromptParts): Promise<number[]> {
    checkOptions('Engine.encodePrompt', parts, { text: required(text), literal: required(list) });
    return encodePrompt(this.model, parts);
  }

  /**
   * The text that the model's chat template makes of a conversation, and the ranges of it that came from the messages:
   * a special token that somebody typed stays text.
   *
   * @throws UnicornError `unsupported/chat-template` for a model without a template, `usage/conversation` for what is
   * not a conversation, `usage/chat-template` for one that the template refuses
   */
  renderParts(conversation: Conversation): Promise<PromptParts> {
    return renderParts(this.model, conversation);
  }

  /** What a request that says nothing is sampled with. */
  get samplingDefaults(): SamplingParameters {
    const { samplingDefaults } = this.model;
    return Object.keys(samplingDefaults).length > 0 ? samplingDefaults : fallbackSampling;
  }

  /** Token ids of a text, without BOS. Special-token text is recognized only with `special`. */
  async tokenize(content: string, options: EncodeOptions = {}): Promise<number[]> {
    checkArgument('Engine.tokenize', 'text', content, required(text));
    checkOptions('Engine.tokenize', options, encodeOptionTable);
    return (await this.model.tokenizer()).encode(content, options);
  }

  async detokenize(ids: readonly number[]): Promise<string> {
    checkArgument('Engine.detokenize', 'ids', ids, required(tokenIds));
    return (await this.model.tokenizer()).decode(ids);
  }

  /** Logits and hidden states of whole sequences, run as one ragged batch; no sampling, and no cache unless `reuse`. */
  async forward(
    sequences: readonly (readonly number[])[],
    options: ForwardOptions,
  ): Promise<ForwardResult[]> {
    checkArgument('Engine.forward', 'sequences', sequences, required(listOf(tokenIds)));
    checkOptions('Engine.forward', options, forwardOptionTable);
    this.#expectOpen();
    return this.runtime.use(({ scheduler }) => scheduler.forward(sequences, options));
  }

  stats(): EngineStats {
    const { placement, scheduler } = this.runtime.latest;
    const { weightBytes, scratchBytes } = placement.device.memory();
    const { kvBytes, draftedTokens, acceptedTokens, speculationSteps } = scheduler.stats();
    return {
      requests: this.#requests,
      ...this.#totals,
      speculation: { draftedTokens, acceptedTokens, speculationSteps },
      memory: { weightBytes, kvBytes, scratchBytes },
    };
  }

  /** Compiles what `generate` needs, which the first request would wait for otherwise. */
  async prepare(): Promise<void> {
    this.#expectOpen();
    await this.runtime.use(({ scheduler }) => scheduler.prepare());
  }

  /** What the device's steps took since loading, by program; without any entry unless loaded with `profile`. */
  async profile(): Promise<readonly ProgramProfile[]> {
    this.#expectOpen();
    return this.runtime.latest.scheduler.profile();
  }

  /** Cancels what is in flight and frees everything. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= (async () => {
      await this.runtime.close();
      await this.model.close();
    })();
    return this.#closing;
  }

  #speculation({ speculation }: GenerateRequest): SpeculationOptions | undefined {
    if (!speculation) return undefined;
    const { draft } = speculation;
    return { ...speculation, draft: draft === 'ngram' ? draft : resolveSize(this.model, draft) };
  }

  /** Ids in, ids out needs no tokenizer: a checkpoint that comes without one then answers with empty texts. */
  async #tokenizerFor(request: GenerateRequest): Promise<Tokenizer | undefined> {
    try {
      return await this.model.tokenizer();
    } catch (error) {
      if ('tokens' in request && isUnicornError(error) && error.code === 'usage/file') return undefined;
      throw error;
    }
  }

  #count(usage: Usage): void {
    const total = this.#totals;
    this.#totals = {
      promptTokens: total.promptTokens + usage.promptTokens,
      cachedPromptTokens: total.cachedPromptTokens + usage.cachedPromptTokens,
      completionTokens: total.completionTokens + usage.completionTokens,
    };
  }

  #expectOpen(): void {
    if (this.#closing) throw new UnicornError('usage/closed', 'The engine was closed.');
  }
}
