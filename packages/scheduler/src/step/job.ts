/**
 * The work that steps serve, as the step loop sees it: a job knows its own tokens, events and clock; the loop decides
 * when it runs and holds its memory.
 */
import type { Phase } from '@unicorn-exec/tensor';
import type { Drafter } from '../draft/drafter.js';
import type { KvSequence, PrefixKey } from '../kv/kv-sequence.js';
import type { Reuse } from '../kv/prefix-search.js';
import type { TokenLogProbabilities } from '../request.js';
import { endOfSpans, type PromptSpan } from '../prompt-span.js';
import type { RunnerPhase } from './phase.js';
import type { ProgramKind } from './program-kind.js';
import type { StepPortion } from './step-batch.js';

/** What a step left in the output buffers for one job. */
export interface StepOutput {
  /** The sampled ids, in order: none, one, or those behind a draft as far as they stand. */
  readonly tokens: readonly number[];
  /** One for each of the tokens, where the program computes them. */
  readonly logProbabilities?: readonly TokenLogProbabilities[];
  /** `logits` and `hidden.<L>` as f32 [count, features]; absent after a sampling step. */
  readonly rows?: ReadonlyMap<string, Float32Array>;
}

/** Admitted: memory and a row of the history are its own until it is released. */
export interface Holding {
  readonly kv: KvSequence;
  readonly historyRow: number;
}

export interface Job {
  readonly tokens: number[];
  /** What each of them is for the search of prefixes: the ids themselves where no row is given. */
  readonly keys: readonly PrefixKey[];
  /** Positions of the prompt that are never computed by halves. */
  readonly spans: readonly PromptSpan[];
  /** Positions of the prompt: they belong to the phase `prompt`, all others to `token`. */
  readonly promptLength: number;
  /** Positions that it needs at most. */
  readonly totalTokens: number;
  readonly reuse: Reuse;
  /** Who waits with a higher one is admitted first. */
  readonly priority: number;
  readonly program: ProgramKind;
  /** What computes it as long as a span is left; undefined where there is none. */
  readonly spanProgram: ProgramKind | undefined;
  /** Set by the scheduler while the job runs. */
  holding: Holding | undefined;
  /** Submissions and transfers in flight that may touch the job's memory. */
  pins: number;
  /** An older job needs its memory: it is preempted as soon as nothing pins it, and not stepped before. */
  yields: boolean;
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
  portion(count: number): StepPortion;
  /** Whether it goes on one token at a time after `unknown` more tokens, whatever these are, unless one of them ends it. */
  goesOn(unknown: number): boolean;
  /** The last token, or the last guess, alone: to draw another guess after it. */
  draftPortion?(): StepPortion;
  /** What may come next, of a job whose program is late; one promise for each number of generated tokens. */
  lateMask?(): Promise<Int32Array | undefined>;
  /** Takes what a step computed for positions `position` to `position + count - 1`. */
  absorb(output: StepOutput, position: number, count: number): void;
  /** Its memory was lost: forgets what it had begun. False where it cannot start again. */
  restart(): boolean;
  cancel(): void;
  fail(error: unknown): void;
}

/** What computes an admitted job's first position that is not computed. */
export function programOf({ program, spanProgram, spans, holding }: Job): ProgramKind {
  return spanProgram && holding!.kv.computed < endOfSpans(spans) ? spanProgram : program;
}

/** The phase of an admitted job's first position that is not computed. */
export function phaseOf({ holding, promptLength }: Job): Phase {
  return holding!.kv.computed < promptLength ? 'prompt' : 'token';
}

/** Known tokens of an admitted job that a runner may compute next. */
export function tokensLeft({ tokens, promptLength, holding }: Job, phase: RunnerPhase): number {
  const end = phase === 'prompt' ? Math.min(tokens.length, promptLength) : tokens.length;
  return end - holding!.kv.computed;
}

/** Whether one generated token is all that is left to compute of an admitted job. */
export function decodes(job: Job): boolean {
  return job.decoding && tokensLeft(job, undefined) === 1;
}
