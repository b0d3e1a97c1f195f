/** What distinguishes one program from another, by value; it compiles nothing. */
import type { ElasticSize } from '@unicorn-exec/tensor';
import type { PromptSpan } from '../prompt-span.js';
import type { RunnerPhase } from './phase.js';

/** What a step computes: everything that makes another executable necessary. Equal kinds have equal names. */
export interface ProgramKind {
  readonly name: string;
  /** `sample`: one token for each row in `rows`. `all`, `none`: logits of every row, or of none; nothing is sampled. */
  readonly result: 'sample' | 'all' | 'none';
  readonly hidden: boolean;
  /** Takes a mask of allowed tokens for each row. */
  readonly masked: boolean;
  /** Takes rows in the place of embeddings. */
  readonly given: boolean;
  /** Tells each token how far it sees. */
  readonly reach: boolean;
  /** Also samples behind the guesses of drafts, so its outputs have more rows. */
  readonly drafts: boolean;
  /** Leaves the logits of what is to be sampled: a sampler draws from them, a program of its own. */
  readonly late: boolean;
  /** Also outputs the log-probabilities of what it samples, and of so many best tokens; undefined: of none. */
  readonly topLogProbabilities: number | undefined;
  readonly size: ElasticSize | undefined;
  /** Phase of all its tokens; undefined where the device makes no difference, and in what jobs ask for. */
  readonly phase: RunnerPhase;
}

/** One name for each size: equal slices have equal names. */
export function sizeName(size: ElasticSize | undefined): string {
  return size ? `${size.feedForward.join(',')}/${size.skip.join(',')}` : 'full';
}

export function programKind(
  result: ProgramKind['result'],
  options: {
    readonly hidden?: boolean | undefined;
    readonly masked?: boolean | undefined;
    readonly given?: boolean | undefined;
    readonly reach?: boolean | undefined;
    readonly drafts?: boolean | undefined;
    readonly late?: boolean | undefined;
    readonly topLogProbabilities?: number | undefined;
    readonly size?: ElasticSize | undefined;
    readonly phase?: RunnerPhase;
  },
): ProgramKind {
  const { hidden = false, masked = false, given = false, reach = false } = options;
  const { drafts = false, late = false, topLogProbabilities, size, phase } = options;
  const flags = Object.entries({ hidden, masked, given, reach, drafts, late }).flatMap(([flag, set]) =>
    set ? [flag] : [],
  );
  if (topLogProbabilities !== undefined) flags.push(`top${topLogProbabilities}`);
  const name = [result, ...flags, sizeName(size), ...(phase ? [phase] : [])].join(' ');
  return { name, result, hidden, masked, given, reach, drafts, late, topLogProbabilities, size, phase };
}

/** The program that computes the same of positions in spans; undefined where these ask for no other. */
export function withSpans(kind: ProgramKind, spans: readonly PromptSpan[]): ProgramKind | undefined {
  const given = spans.some(({ rows }) => rows);
  const reach = spans.some(({ twoWay }) => twoWay);
  return given || reach ? programKind(kind.result, { ...kind, given, reach }) : undefined;
}

/** The program that computes the same in a phase. */
export function inPhase(kind: ProgramKind, phase: RunnerPhase): ProgramKind {
  return phase === kind.phase ? kind : programKind(kind.result, { ...kind, phase });
}

/** The program that samples from the logits which one that is late has left. */
export function samplerKind({ topLogProbabilities }: ProgramKind, phase: RunnerPhase): ProgramKind {
  const kind = programKind('sample', { masked: true, topLogProbabilities, phase });
  return { ...kind, name: `sampler ${kind.name}` };
}

/** The program that also samples behind guesses. */
export function checkingGuesses(kind: ProgramKind): ProgramKind {
  return programKind(kind.result, { ...kind, drafts: true });
}
