/**
 * The two kinds of work that steps serve, from submission to end: a generation and a sequence to score. A job knows its
 * own tokens, events and clock; the scheduler decides when it runs and holds its memory.
 */
import { UnicornError } from '@unicorn-exec/tensor';
import { Drafter, type DrafterSetup } from './drafter.js';
import { EventQueue } from './event-queue.js';
import type { KvSequence, Reuse } from './kv-cache.js';
import type { ProgramKind } from './program.js';
import type {
  FinishReason,
  ForwardResult,
  ForwardRows,
  Generation,
  GenerationEvent,
  TokenMask,
  Timings,
  Usage,
} from './request.js';
import type { SamplingRow } from './sampling-parameters.js';
import type { SampleRequest, StepPart } from './step-batch.js';

/** What a step left in the output buffers for one job. */
export interface StepOutput {
  /** The sampled ids, in order: none, one, or those behind a draft as far as they stand. */
  readonly tokens: readonly number[];
  /** `logits` and `hidden.<L>` as f32 [count, features]; absent after a sampling step. */
  readonly rows?: ReadonlyMap<string, Float32Array>;
}

/** Admitted: memory and a row of the history are its own until it is released. */
export interface Holding {
  readonly kv: KvSequence;
  readonly slot: number;
}

export interface Job {
  readonly tokens: number[];
  /** Positions that it needs at most. */
  readonly totalTokens: number;
  readonly reuse: Reuse;
  readonly program: ProgramKind;
  /** Set by the scheduler while the job runs. */
  holding: Holding | undefined;
  /** Submissions and transfers in flight that may touch the job's blocks. */
  inFlight: number;
  readonly ended: boolean;
  /** Whether its computed tokens are worth keeping for others. */
  readonly retain: boolean;
  /** True once a token was generated. */
  readonly decoding: boolean;
  /** Guesses tokens ahead. */
  readonly drafter?: Drafter | undefined;
  /** May lose its memory to an older job and start again from its tokens, unnoticed but for the time it takes. */
  readonly preemptible: boolean;
  admitted(): void;
  part(count: number): StepPart;
  /** Whether it goes on one token at a time after `unknown` more tokens, whatever these are, unless one of them ends it. */
  goesOn(unknown: number): boolean;
  /** The last token, or the last guess, alone: to draw another guess after it. */
  draftPart?(): StepPart;
  /** Takes what a step computed for positions `position` to `position + count - 1`. */
  absorb(output: StepOutput, position: number, count: number): void;
  cancel(): void;
  fail(error: unknown): void;
}

export interface GenerationSetup {
  readonly tokens: number[];
  readonly maxTokens: number;
  readonly sampling: SamplingRow;
  readonly stopIds: ReadonlySet<number>;
  readonly mask: TokenMask | undefined;
  readonly program: ProgramKind;
  readonly reuse: Reuse;
  readonly vocabularySize: number;
  readonly speculation: SpeculationSetup | undefined;
  /** Milliseconds from any origin. */
  readonly clock: () => number;
  /** Called once, at the end, whatever it is. */
  readonly onEnd: (job: Job) => void;
}

/** How a generation guesses ahead: what the caller asked for, and what the scheduler adds. */
export type SpeculationSetup = Pick<DrafterSetup, 'options' | 'program' | 'newRates'>;

export class GenerationJob implements Job {
  readonly tokens: number[];
  readonly totalTokens: number;
  readonly reuse: Reuse;
  readonly program: ProgramKind;
  readonly events: EventQueue<GenerationEvent>;
  holding: Holding | undefined;
  inFlight = 0;
  ended = false;
  retain = true;
  readonly preemptible = true;
  readonly drafter: Drafter | undefined;
  readonly #promptTokens: number;
  readonly #generated: number[] = [];
  #cachedPromptTokens = 0;
  readonly #times;

  constructor(private readonly setup: GenerationSetup) {
    this.tokens = setup.tokens;
    this.#promptTokens = setup.tokens.length;
    // The last token's keys and values are never computed.
    this.totalTokens = setup.tokens.length + setup.maxTokens - 1;
    this.reuse = setup.reuse;
    this.program = setup.program;
    this.events = new EventQueue(() => this.cancel());
    this.#times = { submitted: setup.clock(), admitted: 0, first: 0, last: 0 };
    const { speculation, mask, maxTokens, stopIds, vocabularySize } = setup;
    this.drafter =
      speculation &&
      new Drafter({
        ...speculation,
        tokens: this.tokens,
        stopIds,
        vocabularySize,
        remaining: () => maxTokens - this.#generated.length,
        allowed: (draft) => mask && this.#allowed(mask, [...this.#generated, ...draft]),
      });
  }

  get generation(): Generation {
    return Object.assign(this.events, { seed: this.setup.sampling.seed });
  }

  get decoding(): boolean {
    return this.#generated.length > 0;
  }

  admitted(): void {
    if (this.#times.admitted > 0) return;
    this.#times.admitted = this.setup.clock();
    this.#cachedPromptTokens = this.holding!.kv.reused;
  }

  part(count: number): StepPart {
    const { kv } = this.holding!;
    const begin = kv.computed;
    if (begin + count < this.tokens.length) return { kv, begin, count, draft: [] };
    const { draft, masks } = this.drafter ?? { draft: [], masks: [] };
    const { mask } = this.setup;
    return {
      kv,
      begin,
      count,
      draft,
      sample: this.#sample(masks.length > 0 ? masks : [mask && this.#allowed(mask, this.#generated)]),
    };
  }

  goesOn(unknown: number): boolean {
    const { mask, maxTokens } = this.setup;
    if (mask || this.drafter?.rests === false) return false;
    return this.#generated.length + unknown < maxTokens;
  }

  draftPart(): StepPart {
    const { kv } = this.holding!;
    const { draft, masks } = this.drafter!;
    const begin = kv.computed + draft.length;
    return { kv, begin, count: 1, draft, sample: this.#sample(masks.slice(-1)) };
  }

  absorb({ tokens }: StepOutput): void {
    for (const token of tokens) this.#take(token);
  }

  #sample(masks: readonly (Int32Array | undefined)[]): SampleRequest {
    const { slot } = this.holding!;
    const { sampling: row } = this.setup;
    return { row, slot, promptLength: this.#promptTokens, count: masks.length, masks };
  }

  #take(token: number): void {
    if (this.ended) return;
    if (!(token >= 0 && token < this.setup.vocabularySize)) {
      this.fail(
        new UnicornError('device/result', `The device sampled token ${token}, which does not exist.`, {
          fields: { token },
          fix: 'The logits may be NaN: check the model file, or try precision "f32".',
        }),
      );
      return;
    }
    const position = this.tokens.length;
    this.tokens.push(token);
    this.#generated.push(token);
    this.#times.last = this.setup.clock();
    if (this.#generated.length === 1) this.#times.first = this.#times.last;
    const stop = this.setup.stopIds.has(token);
    this.events.push({ kind: 'token', token, position, stop });
    if (stop) this.#finish('stop');
    else if (this.#generated.length >= this.setup.maxTokens) this.#finish('length');
  }

  cancel(): void {
    if (!this.ended) this.#finish('cancelled');
  }

  fail(error: unknown): void {
    if (this.ended) return;
    this.ended = true;
    this.retain = false;
    this.events.fail(error);
    this.setup.onEnd(this);
  }

  #finish(finishReason: FinishReason): void {
    this.ended = true;
    this.events.push({
      kind: 'end',
      finishReason,
      usage: this.#usage(),
      timings: this.#timings(),
      ...(this.drafter ? { speculation: this.drafter.usage } : {}),
      seed: this.setup.sampling.seed,
    });
    this.events.end();
    this.setup.onEnd(this);
  }

  #usage(): Usage {
    return {
      promptTokens: this.#promptTokens,
      cachedPromptTokens: this.#cachedPromptTokens,
      completionTokens: this.#generated.length,
    };
  }

  #timings(): Timings {
    const { submitted, admitted, first, last } = this.#times;
    return {
      queueMs: (admitted || this.setup.clock()) - submitted,
      prefillMs: first ? first - admitted : 0,
      decodeMs: last - first,
      firstTokenMs: first ? first - submitted : 0,
    };
  }

  /** @throws UnicornError `usage/mask` when the mask has another length or allows nothing */
  #allowed(mask: TokenMask, generated: readonly number[]): Int32Array | undefined {
    const words = mask(generated);
    if (words === undefined) return undefined;
    const { vocabularySize } = this.setup;
    const length = Math.ceil(vocabularySize / 32);
    // Bits beyond the vocabulary allow nothing.
    const tail = vocabularySize % 32 === 0 ? -1 : 2 ** (vocabularySize % 32) - 1;
    const some = words.some((word, index) => (index === length - 1 ? word & tail : word) !== 0);
    if (words.length === length && some) return words;
    throw new UnicornError(
      'usage/mask',
      some
        ? `The token mask has ${words.length} words instead of ${length}.`
        : 'The token mask allows no token.',
      { fields: { words: words.length, expected: length } },
    );
  }
}

export interface ScoreSetup {
  readonly sequence: number;
  readonly tokens: number[];
  readonly program: ProgramKind;
  readonly reuse: Reuse;
  readonly onRows: ((rows: ForwardRows) => void) | undefined;
  readonly onEnd: (job: Job) => void;
}

export class ScoreJob implements Job {
  readonly tokens: number[];
  readonly totalTokens: number;
  readonly reuse: Reuse;
  readonly program: ProgramKind;
  retain: boolean;
  /** Its rows were handed out already. */
  readonly preemptible = false;
  readonly decoding = false;
  readonly result: Promise<ForwardResult>;
  holding: Holding | undefined;
  inFlight = 0;
  ended = false;
  readonly #collected = new Map<string, Float32Array>();
  #reused = 0;
  #settle!: { resolve: (result: ForwardResult) => void; reject: (error: unknown) => void };

  constructor(private readonly setup: ScoreSetup) {
    this.tokens = setup.tokens;
    this.totalTokens = setup.tokens.length;
    this.program = setup.program;
    this.reuse = setup.reuse;
    this.retain = setup.reuse !== 'none';
    this.result = new Promise((resolve, reject) => (this.#settle = { resolve, reject }));
    // The caller awaits all sequences together; the first failure must not leave the others unhandled.
    this.result.catch(() => {});
  }

  admitted(): void {
    this.#reused = this.holding!.kv.reused;
  }

  part(count: number): StepPart {
    const { kv } = this.holding!;
    return { kv, begin: kv.computed, count, draft: [] };
  }

  goesOn(): boolean {
    return false;
  }

  absorb({ rows: outputs }: StepOutput, position: number, count: number): void {
    if (this.ended) return;
    const { logits, ...hidden } = Object.fromEntries(outputs!);
    const rows: ForwardRows = {
      sequence: this.setup.sequence,
      position,
      count,
      ...(logits ? { logits } : {}),
      ...(this.program.hidden ? { hidden } : {}),
    };
    if (this.setup.onRows) this.setup.onRows(rows);
    else this.#collect(rows);
    if (position + count < this.tokens.length) return;
    this.ended = true;
    this.#settle.resolve(this.#result());
    this.setup.onEnd(this);
  }

  cancel(): void {
    this.fail(new UnicornError('usage/cancelled', 'The forward pass was cancelled.'));
  }

  fail(error: unknown): void {
    if (this.ended) return;
    this.ended = true;
    this.retain = false;
    this.#settle.reject(error);
    this.setup.onEnd(this);
  }

  #collect({ position, count, logits, hidden }: ForwardRows): void {
    const rows = this.tokens.length - this.#reused;
    for (const [name, data] of Object.entries({ ...hidden, ...(logits ? { logits } : {}) })) {
      const features = data.length / count;
      let all = this.#collected.get(name);
      if (!all) this.#collected.set(name, (all = new Float32Array(rows * features)));
      all.set(data, (position - this.#reused) * features);
    }
  }

  #result(): ForwardResult {
    const reused = this.#reused > 0 ? { reusedTokens: this.#reused } : {};
    if (this.setup.onRows) return reused;
    const { logits, ...hidden } = Object.fromEntries(this.#collected);
    return { ...reused, ...(logits ? { logits } : {}), ...(this.program.hidden ? { hidden } : {}) };
  }
}
