/** A generation, from submission to end: its tokens, events, limits and times. It decides nothing about steps. */
import { noToken, UnicornError } from '@unicorn-exec/tensor';
import { Drafter, type DrafterSetup } from './draft/drafter.js';
import { EventQueue } from './event-queue.js';
import type { PrefixKey } from './kv/kv-sequence.js';
import type { Reuse } from './kv/prefix-search.js';
import { prefixKeys, saltedKeys, type PromptSpan } from './prompt-span.js';
import type {
  FinishReason,
  Generation,
  GenerationEvent,
  LateTokenMask,
  TokenLogProbabilities,
  TokenMask,
  Timings,
  Usage,
} from './request.js';
import type { SamplingRow } from './sampling-parameters.js';
import type { Holding, Job, StepOutput } from './step/job.js';
import { withSpans, type ProgramKind } from './step/program-kind.js';
import type { SampleRequest, StepPortion } from './step/step-batch.js';

export interface GenerationSetup {
  readonly tokens: number[];
  readonly spans: readonly PromptSpan[];
  readonly maxTokens: number;
  readonly sampling: SamplingRow;
  readonly stopIds: ReadonlySet<number>;
  readonly mask: TokenMask | undefined;
  readonly lateMask: LateTokenMask | undefined;
  /** Best tokens whose log-probabilities are wanted. */
  readonly logProbabilities: number | undefined;
  readonly program: ProgramKind;
  readonly reuse: Reuse;
  /** Keeps the sequence apart from those of another salt, or of none, in the prefix cache. */
  readonly salt: string | undefined;
  /** Whether later sequences may continue from this one. */
  readonly retain: boolean;
  readonly priority: number;
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
  readonly keys: PrefixKey[];
  readonly spans: readonly PromptSpan[];
  readonly promptLength: number;
  readonly totalTokens: number;
  readonly reuse: Reuse;
  readonly priority: number;
  readonly program: ProgramKind;
  readonly spanProgram: ProgramKind | undefined;
  readonly events: EventQueue<GenerationEvent>;
  holding: Holding | undefined;
  pins = 0;
  yields = false;
  ended = false;
  retain: boolean;
  readonly preemptible = true;
  readonly drafter: Drafter | undefined;
  readonly #generated: number[] = [];
  /** The mask of what comes after so many generated tokens. */
  #late: { readonly length: number; readonly mask: Promise<Int32Array | undefined> } | undefined;
  #cachedPromptTokens = 0;
  readonly #times;

  constructor(private readonly setup: GenerationSetup) {
    this.tokens = setup.tokens;
    const keys = prefixKeys(setup.tokens, setup.spans);
    this.keys = setup.salt === undefined ? keys : saltedKeys(keys, setup.salt);
    this.retain = setup.retain;
    this.priority = setup.priority;
    this.spans = setup.spans;
    this.promptLength = setup.tokens.length;
    // The last token's keys and values are never computed.
    this.totalTokens = setup.tokens.length + setup.maxTokens - 1;
    this.reuse = setup.reuse;
    this.program = setup.program;
    this.spanProgram = withSpans(setup.program, setup.spans);
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

  portion(count: number): StepPortion {
    const { kv } = this.holding!;
    const begin = kv.computed;
    const { spans } = this;
    if (begin + count < this.tokens.length) {
      return { kv, begin, count, draft: [], spans, stateSlots: kv.slots?.ofStep(begin, false) };
    }
    const { draft, masks } = this.drafter ?? { draft: [], masks: [] };
    const { mask } = this.setup;
    return {
      kv,
      begin,
      count,
      draft,
      spans,
      stateSlots: kv.slots?.ofStep(begin, draft.length > 0),
      sample: this.#sample(masks.length > 0 ? masks : [mask && this.#allowed(mask, this.#generated)]),
    };
  }

  goesOn(unknown: number): boolean {
    const { mask, lateMask, maxTokens } = this.setup;
    if (mask || lateMask || this.drafter?.rests === false) return false;
    return this.#generated.length + unknown < maxTokens;
  }

  draftPortion(): StepPortion {
    const { kv } = this.holding!;
    const { draft, masks } = this.drafter!;
    const begin = kv.computed + draft.length;
    return {
      kv,
      begin,
      count: 1,
      draft,
      spans: this.spans,
      stateSlots: kv.slots?.ofGuess(draft.length === 0),
      sample: this.#sample(masks.slice(-1)),
    };
  }

  lateMask(): Promise<Int32Array | undefined> {
    const { length } = this.#generated;
    if (this.#late?.length !== length) {
      const made = async (): Promise<Int32Array | undefined> =>
        this.#checked(await this.setup.lateMask!([...this.#generated]));
      this.#late = { length, mask: made() };
    }
    return this.#late.mask;
  }

  absorb({ tokens, logProbabilities }: StepOutput): void {
    tokens.forEach((token, index) => this.#take(token, logProbabilities?.[index]));
  }

  #sample(masks: readonly (Int32Array | undefined)[]): SampleRequest {
    const { historyRow } = this.holding!;
    const { sampling: row } = this.setup;
    return { row, historyRow, promptLength: this.promptLength, count: masks.length, masks };
  }

  #take(token: number, logProbabilities: TokenLogProbabilities | undefined): void {
    if (this.ended) return;
    const position = this.tokens.length;
    if (!(token >= 0 && token < this.setup.vocabularySize)) {
      this.fail(notSampled(token, position));
      return;
    }
    this.tokens.push(token);
    if (this.keys !== this.tokens) this.keys.push(token);
    this.#generated.push(token);
    this.#times.last = this.setup.clock();
    if (this.#generated.length === 1) this.#times.first = this.#times.last;
    const stop = this.setup.stopIds.has(token);
    const event = { kind: 'token', token, position, stop } as const;
    this.events.push(
      logProbabilities ? { ...event, logProbabilities: this.#asked(logProbabilities) } : event,
    );
    if (stop) this.#finish('stop');
    else if (this.#generated.length >= this.setup.maxTokens) this.#finish('length');
  }

  /** Programs compute more best tokens than some ask for. */
  #asked({ chosen, top }: TokenLogProbabilities): TokenLogProbabilities {
    return { chosen, top: top.slice(0, this.setup.logProbabilities) };
  }

  restart(): boolean {
    this.drafter?.drop();
    return true;
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
      promptTokens: this.promptLength,
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

  #allowed(mask: TokenMask, generated: readonly number[]): Int32Array | undefined {
    return this.#checked(mask(generated));
  }

  /** @throws UnicornError `usage/mask` when the mask has another length or allows nothing */
  #checked(words: Int32Array | undefined): Int32Array | undefined {
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

function notSampled(token: number, position: number): UnicornError {
  const fix =
    'The weights may hold NaN or infinity: check the file, or compare with the backend `reference`.';
  return token === noToken
    ? new UnicornError(
        'device/result',
        `The model computed no numbers: its logits for position ${position} hold NaN or infinity, or allow no token.`,
        { fields: { position }, fix },
      )
    : new UnicornError('device/result', `The device sampled token ${token}, which does not exist.`, {
        fields: { token, position },
        fix,
      });
}
