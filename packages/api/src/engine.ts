/**
 * The Engine facade: a model on a device, text in and text out. It joins `models` (what the text means), `scheduler`
 * (when tokens are computed) and a backend (where); it adds stop strings and the choice of context, nothing else.
 */
import { EventEmitter } from 'eventemitter3';
import { isUnicornError, UnicornError } from '@unicorn-exec/tensor';
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
  Timings as ScheduledTimings,
} from '@unicorn-exec/scheduler';
import type { ContextChoice } from './machine/context-length.js';
import { generateShifting } from './answer/context-shift.js';
import { locateModel } from './model-location.js';
import { noText, ReasoningText, type TextPiece } from './answer/reasoning-text.js';
import type {
  EngineStats,
  GenerateChunk,
  GenerateRequest,
  ProgramProfile,
  Timings,
  Usage,
} from './answer/request.js';
import type { BackendSummary, KvType, LoadOptions, LoadTimes } from './machine/load-options.js';
import { LastingRuntime, throwIfCancelled } from './machine/runtime.js';
import { StopText } from './answer/stop-text.js';

/** Requests that a desktop user has in flight at once; each costs a row of history, not KV, until it is used. */
const defaultMaxSequences = 4;

/** Where a model's makers recommend nothing: llama.cpp's defaults, which its users know. */
const fallbackSampling: SamplingParameters = { temperature: 0.8, topK: 40, topP: 0.95, minP: 0.05 };

export interface EngineEvents {
  /** After each request, also a cancelled one. */
  finished: [{ readonly usage: Usage; readonly timings: Timings }];
}

export class Engine extends EventEmitter<EngineEvents> {
  readonly context: ContextChoice;
  readonly backend: BackendSummary;
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
    const { context, device, fallback, split } = placement;
    this.loadTimes = loadTimes;
    this.context = context;
    this.kvType = kvType;
    const { backend, id, name, threads } = device.info;
    this.backend = {
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
   * @throws UnicornError `usage/model` (no such model), `format/*` (a damaged file), `unsupported/*` (an unknown
   * architecture or backend), `resource/memory` (does not fit), `usage/cancelled` (the signal)
   */
  static async load(options: LoadOptions = {}): Promise<Engine> {
    const path = await locateModel(options.model);
    const model = await openModel(path);
    try {
      throwIfCancelled(options.signal);
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
   * `unsupported/chat-template` for messages to a model without a template, `device/lost` when the device stops under it;
   * a later request finds the device opened anew
   */
  async *generate(request: GenerateRequest): AsyncGenerator<GenerateChunk, void, undefined> {
    this.#expectOpen();
    const stopText = new StopText(request.stop ?? []);
    const tokens = await this.promptTokens(request);
    const tokenizer = await this.#tokenizerFor(request);
    const reader = tokenizer && new ReasoningText(tokenizer, tokens);
    const cancel = new AbortController();
    const signal = request.signal ? AbortSignal.any([request.signal, cancel.signal]) : cancel.signal;
    const size = request.elastic === undefined ? undefined : resolveSize(this.model, request.elastic);
    this.#requests++;
    const runtime = await this.runtime.working();
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
          if (stopText.stopped !== undefined) continue;
          completionTokens++;
          const piece = (event.stop ? undefined : reader?.push(event.token)) ?? noText;
          const text = stopText.push(piece.text);
          if (stopText.stopped !== undefined) cancel.abort();
          yield { text, ...given(piece), tokens: [event.token] };
          continue;
        }
        finished = true;
        const usage: Usage = { ...event.usage, completionTokens };
        const timings = summarizeTimings(event.timings, usage);
        this.#count(usage);
        this.emit('finished', { usage, timings });
        const rest = (stopText.stopped === undefined ? reader?.end() : undefined) ?? noText;
        const tail = stopText.stopped === undefined ? stopText.push(rest.text) + stopText.end() : '';
        const finishReason = stopText.stopped === undefined ? event.finishReason : 'stop';
        const speculation = event.speculation ? { speculation: event.speculation } : {};
        yield { text: tail, ...given(rest), tokens: [], finishReason, usage, timings, ...speculation };
      }
    } catch (error) {
      this.runtime.noteFailure(runtime, error);
      throw error;
    } finally {
      if (!finished) cancel.abort();
    }
  }

  /** The ids that a request's prompt becomes: the chat template's output, or raw text behind the model's BOS. */
  async promptTokens(request: GenerateRequest): Promise<number[]> {
    if ('tokens' in request) return [...request.tokens];
    // Whoever writes a raw prompt writes its special tokens too.
    if ('prompt' in request) return this.encodePrompt({ text: request.prompt, literal: [] });
    const { messages, tools, templateOptions } = request;
    const parts = await this.renderParts({
      messages,
      ...(tools ? { tools } : {}),
      ...(templateOptions ? { options: templateOptions } : {}),
    });
    return this.encodePrompt(parts);
  }

  /**
   * Ids of a whole prompt, behind the model's BOS unless the text begins with it. Special tokens are recognized but in
   * the literal ranges.
   */
  async encodePrompt({ text, literal }: PromptParts): Promise<number[]> {
    const tokenizer = await this.model.tokenizer();
    const ids = tokenizer.encode(text, { special: true, literal });
    const { bosId } = tokenizer;
    return tokenizer.addBos && bosId !== undefined && ids[0] !== bosId ? [bosId, ...ids] : ids;
  }

  /**
   * The text that the model's chat template makes of a conversation, and the ranges of it that came from the messages:
   * a special token that somebody typed stays text.
   */
  async renderParts(conversation: Conversation): Promise<PromptParts> {
    const template = await this.model.chatTemplate();
    if (!template) {
      throw new UnicornError('unsupported/chat-template', `${this.model.name} has no chat template.`, {
        fix: 'Give the prompt as raw text (`prompt`, or `unicorn run --raw`).',
      });
    }
    return template.renderParts(conversation, await this.model.tokenizer());
  }

  /** What a request that says nothing is sampled with. */
  get samplingDefaults(): SamplingParameters {
    const { samplingDefaults } = this.model;
    return Object.keys(samplingDefaults).length > 0 ? samplingDefaults : fallbackSampling;
  }

  /** Token ids of a text, without BOS. Special-token text is recognized only with `special`. */
  async tokenize(text: string, options: EncodeOptions = {}): Promise<number[]> {
    return (await this.model.tokenizer()).encode(text, options);
  }

  async detokenize(ids: readonly number[]): Promise<string> {
    return (await this.model.tokenizer()).decode(ids);
  }

  /** Logits and hidden states of whole sequences, run as one ragged batch; no sampling, and no cache unless `reuse`. */
  forward(sequences: readonly (readonly number[])[], options: ForwardOptions): Promise<ForwardResult[]> {
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

function given({ reasoning }: TextPiece): { reasoning?: string } {
  return reasoning === '' ? {} : { reasoning };
}

function summarizeTimings(scheduled: ScheduledTimings, usage: Usage): Timings {
  return {
    ttftMs: scheduled.firstTokenMs,
    prefillTokensPerSecond: perSecond(usage.promptTokens - usage.cachedPromptTokens, scheduled.prefillMs),
    decodeTokensPerSecond: perSecond(usage.completionTokens - 1, scheduled.decodeMs),
  };
}

function perSecond(count: number, ms: number): number {
  return ms > 0 && count > 0 ? (count / ms) * 1000 : 0;
}
