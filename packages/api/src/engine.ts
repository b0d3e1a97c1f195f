/**
 * The Engine facade: a model on a device, text in and text out. It joins `models` (what the text means), `scheduler`
 * (when tokens are computed) and a backend (where); it adds stop strings and the choice of context, nothing else.
 */
import { throwIfCancelled, UnicornError } from '@unicorn-exec/tensor';
import {
  openModel,
  type ChatTemplateFacts,
  type Conversation,
  type EncodeOptions,
  type Model,
  type PromptParts,
} from '@unicorn-exec/models';
import type { ForwardOptions, ForwardResult, SamplingParameters } from '@unicorn-exec/scheduler';
import { answerRequest, type AnswerParts } from './answer/answer-request.js';
import { BodyStream, type LeavableStream, type StreamBody } from './answer/leavable-stream.js';
import { encodePrompt, promptOf, renderParts } from './answer/prompt.js';
import { RequestEnd } from './answer/request-end.js';
import { RequestRecord } from './answer/request-record.js';
import { RequestTotals } from './answer/request-totals.js';
import {
  generateOptionTable,
  type EngineStats,
  type FinishedRequest,
  type GenerateChunk,
  type GenerateRequest,
  type ProgramProfile,
} from './answer/request.js';
import { guarded, GuardedEmitter } from './guarded-emitter.js';
import type { ContextChoice } from './machine/context-length.js';
import {
  loadOptionTable,
  type BackendSummary,
  type KvType,
  type LoadOptions,
  type LoadProgress,
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
  /** Once for each request that was begun, whatever its end, before its reader learns of that. */
  finished: [FinishedRequest];
  /**
   * Another device computes from now on: the CPU in the place of one that was lost (`fallback` says which and why), or that
   * one again.
   */
  moved: [BackendSummary];
}

/**
 * What a listener throws, or rejects with, harms nobody: it becomes a warning of the process (`process.on('warning')`).
 */
export class Engine extends GuardedEmitter<EngineEvents> {
  readonly context: ContextChoice;
  readonly kvType: KvType;
  readonly loadTimes: LoadTimes;
  readonly #totals = new RequestTotals();
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
    runtime.onMoved = () => this.announce('moved', this.backend);
  }

  /** Where it computes at present. Changes only when a device is lost. */
  get backend(): BackendSummary {
    const { device, fallback, gpu, split } = this.runtime.latest.placement;
    const { backend, id, name, threads } = device.info;
    return {
      name: backend,
      device: name,
      deviceId: id,
      ...(threads === undefined ? {} : { threads }),
      ...(fallback ? { fallback } : {}),
      ...(gpu ? { gpu } : {}),
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
    const { onProgress } = options;
    const listener =
      onProgress && ((progress: LoadProgress) => guarded('onProgress', () => onProgress(progress)));
    const path = await locateModel(options.model);
    const model = await openModel(path);
    try {
      throwIfCancelled(options.signal, 'Loading');
      const kvType = options.kvType ?? 'f16';
      const maxSequences = options.maxSequences ?? defaultMaxSequences;
      const runtime = await LastingRuntime.open(model, {
        ...options,
        kvType,
        maxSequences,
        onProgress: listener,
      });
      return new Engine(model, runtime, kvType);
    } catch (error) {
      await model.close();
      throw error;
    }
  }

  /**
   * Generates an answer as a stream of chunks; the last one carries `finishReason`, `usage` and `timings`. Nothing happens
   * before the first `next()`, which also checks the request: errors reject it, and nothing is thrown here. There is no
   * backpressure: tokens are computed as fast as the device can, at most as many as the context holds, and wait in memory
   * for a slow reader. Leaving the loop (`break`, `return()`, `throw()`, `await using`) ends the request at once, also
   * while it waits or computes its prompt, and so does its `signal`. A stream that is begun must be read to its end,
   * left or aborted.
   *
   * @throws UnicornError `usage/context` when the prompt does not fit, `usage/*` for impossible parameters,
   * `unsupported/chat-template` for messages to a model without a template, `resource/queue` when too many wait,
   * `device/lost` when the device stops under it and no other takes over; a later request finds the device opened anew
   */
  generate(request: GenerateRequest): LeavableStream<GenerateChunk> {
    const end = new RequestEnd();
    const begun = new RequestRecord(request);
    const stream = new BodyStream<GenerateChunk>({
      body: this.#answer({ request, end, record: begun }),
      leave: () => end.end('left'),
      unread: ({ tokens }) => (begun.delivered -= tokens.length),
    });
    end.onEnd = () => stream.runOut();
    return stream;
  }

  /**
   * The ids that a request's prompt becomes: the chat template's output, or raw text behind the model's BOS.
   *
   * @throws UnicornError as {@link renderParts}; `usage/option` for a request without any prompt
   */
  async promptTokens(request: GenerateRequest): Promise<number[]> {
    checkArgument('Engine.promptTokens', 'request', request, required(record));
    checkOptions('Engine.promptTokens', request, generateOptionTable);
    return (await promptOf(this.model, request)).tokens;
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

  /** What the model's chat template does with tools and with content in parts; undefined where it has none. */
  async templateFacts(): Promise<ChatTemplateFacts | undefined> {
    return (await this.model.chatTemplate())?.facts;
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

  /** What the engine does at present, and what its requests have come to. Cheap enough to be asked each second. */
  stats(): EngineStats {
    const { placement, scheduler } = this.runtime.latest;
    const { weightBytes, scratchBytes } = placement.device.memory();
    const { kvBytes, draftedTokens, acceptedTokens, speculationSteps, ...now } = scheduler.stats();
    const { idleSequences, idleTokens, kvGroups: groups } = now;
    const use = Math.max(0, ...groups.map(({ blocks, reservedBlocks }) => reservedBlocks / blocks));
    return {
      ...this.#totals.stats,
      running: now.running,
      queued: now.queued,
      preemptions: now.preemptions,
      kv: { use, idleSequences, idleTokens, groups },
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

  /** As {@link close}: for `await using engine = await Engine.load()`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Cancels what is in flight and frees everything. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= (async () => {
      await this.runtime.close();
      await this.model.close();
    })();
    return this.#closing;
  }

  /** Begins with the first step, so that a stream that nobody reads is not a request. */
  #answer(parts: Omit<AnswerParts, 'begun' | 'finished'>): StreamBody<GenerateChunk> {
    const setup = {
      model: this.model,
      runtime: this.runtime,
      contextLength: this.context.contextLength,
      sampling: this.samplingDefaults,
      expectOpen: () => this.#expectOpen(),
    };
    return answerRequest(setup, {
      ...parts,
      begun: () => this.#totals.begin(),
      finished: ({ finished }) => {
        this.#totals.end(finished);
        this.announce('finished', finished);
      },
    });
  }

  #expectOpen(): void {
    if (this.#closing) throw new UnicornError('usage/closed', 'The engine was closed.');
  }
}
