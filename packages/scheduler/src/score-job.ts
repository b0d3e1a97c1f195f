/** A sequence whose rows are wanted, from submission to end. It decides nothing about steps. */
import { UnicornError } from '@unicorn-exec/tensor';
import type { PrefixKey } from './kv/kv-sequence.js';
import type { Reuse } from './kv/prefix-search.js';
import { prefixKeys, type PromptSpan } from './prompt-span.js';
import type { ForwardResult, ForwardRows } from './request.js';
import type { Holding, Job, StepOutput } from './step/job.js';
import { withSpans, type ProgramKind } from './step/program-kind.js';
import type { StepPortion } from './step/step-batch.js';

export interface ScoreSetup {
  readonly sequence: number;
  readonly tokens: number[];
  readonly spans: readonly PromptSpan[];
  readonly program: ProgramKind;
  readonly reuse: Reuse;
  readonly onRows: ((rows: ForwardRows) => void) | undefined;
  readonly onEnd: (job: Job) => void;
}

export class ScoreJob implements Job {
  readonly tokens: number[];
  readonly keys: readonly PrefixKey[];
  readonly spans: readonly PromptSpan[];
  readonly promptLength: number;
  readonly totalTokens: number;
  readonly reuse: Reuse;
  readonly program: ProgramKind;
  readonly spanProgram: ProgramKind | undefined;
  retain: boolean;
  /** Its rows were handed out already. */
  readonly preemptible = false;
  readonly priority = 0;
  readonly decoding = false;
  readonly result: Promise<ForwardResult>;
  holding: Holding | undefined;
  pins = 0;
  yields = false;
  ended = false;
  readonly #collected = new Map<string, Float32Array>();
  #reused = 0;
  #handedOut = false;
  #settle!: { resolve: (result: ForwardResult) => void; reject: (error: unknown) => void };

  constructor(private readonly setup: ScoreSetup) {
    this.tokens = setup.tokens;
    this.keys = prefixKeys(setup.tokens, setup.spans);
    this.spans = setup.spans;
    // All of it is a prompt: nothing is generated.
    this.promptLength = setup.tokens.length;
    this.totalTokens = setup.tokens.length;
    this.program = setup.program;
    this.spanProgram = withSpans(setup.program, setup.spans);
    this.reuse = setup.reuse;
    this.retain = setup.reuse !== 'none';
    this.result = new Promise((resolve, reject) => (this.#settle = { resolve, reject }));
    // The caller awaits all sequences together; the first failure must not leave the others unhandled.
    this.result.catch(() => {});
  }

  admitted(): void {
    this.#reused = this.holding!.kv.reused;
  }

  portion(count: number): StepPortion {
    const { kv } = this.holding!;
    const stateSlots = kv.slots?.ofStep(kv.computed, false);
    return { kv, begin: kv.computed, count, draft: [], spans: this.spans, stateSlots };
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
    if (this.setup.onRows) {
      this.#handedOut = true;
      this.setup.onRows(rows);
    } else {
      this.#collect(rows);
    }
    if (position + count < this.tokens.length) return;
    this.ended = true;
    this.#settle.resolve(this.#result());
    this.setup.onEnd(this);
  }

  restart(): boolean {
    // What was handed out would be handed out twice.
    if (this.#handedOut) return false;
    this.#collected.clear();
    return true;
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
