/**
 * Which tokens a step computes: a pure function of what is left of each running job and of the limits. Decoding sequences come first, with their guesses, then prompts in order of admission, in chunks. It knows neither
 * memory nor devices, and asks nobody.
 */

/** A running job that has room for what a step may give it. */
export interface StepCandidate {
  /** Name of the program that computes it. */
  readonly program: string;
  /** Known tokens that are not computed, at least 1. */
  readonly left: number;
  /** Whether that is one generated token, so that its next step gives another. */
  readonly decodes: boolean;
  /** Guesses that are checked behind that token; 0 unless it decodes. */
  readonly guesses: number;
}

export interface StepLimits<T extends StepCandidate> {
  /** Prompt tokens and guesses of a step, over all programs. */
  readonly chunk: number;
  /** Tokens that a submission of the candidate's program takes. */
  readonly tokensOf: (candidate: T) => number;
}

/** One program's share of a step. */
export interface PlannedSubmission<T extends StepCandidate> {
  readonly program: string;
  /** In order: those that decode, then those with a chunk. */
  readonly parts: readonly PlannedPart<T>[];
  /** Whether some of its tokens are those of a prompt. */
  readonly prompts: boolean;
}

export interface PlannedPart<T extends StepCandidate> {
  readonly candidate: T;
  /** Known tokens that are computed, the candidate's first; its guesses come on top. */
  readonly count: number;
}

/** The submissions of a step, in order. A job that none of them has room for waits. */
export function planStep<T extends StepCandidate>(
  candidates: readonly T[],
  { chunk, tokensOf }: StepLimits<T>,
): PlannedSubmission<T>[] {
  const submissions = new Map<string, { program: string; parts: PlannedPart<T>[]; prompts: boolean }>();
  const free = new Map<string, number>();
  let chunkLeft = chunk;
  const take = (candidate: T, wanted: number): number => {
    const { program, guesses, decodes } = candidate;
    const room = free.get(program) ?? tokensOf(candidate);
    const count = Math.min(wanted, room - guesses);
    if (count <= 0) return 0;
    free.set(program, room - count - guesses);
    let submission = submissions.get(program);
    if (!submission) submissions.set(program, (submission = { program, parts: [], prompts: false }));
    submission.parts.push({ candidate, count });
    submission.prompts ||= !decodes;
    return count;
  };
  for (const candidate of candidates) {
    if (candidate.decodes && take(candidate, 1) > 0) chunkLeft -= candidate.guesses;
  }
  for (const candidate of candidates) {
    if (chunkLeft <= 0) break;
    if (!candidate.decodes) chunkLeft -= take(candidate, Math.min(candidate.left, chunkLeft));
  }
  return [...submissions.values()];
}
