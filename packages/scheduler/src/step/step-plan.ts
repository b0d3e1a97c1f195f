/**
 * Which tokens a step computes: a pure function of what is left of each running job and of the limits. Decoding sequences
 * come first, with their guesses, then prompts in order of admission, in chunks that are never cut inside a span and waste
 * few of the rows that the device computes. It knows neither memory nor devices, and asks nobody.
 */
import { paddedRows, type RowShapes } from '@unicorn-exec/tensor';
import { uncutCount, type TokenSpan } from '../kv/token-span.js';

/** A running job that has room for what a step may give it. */
export interface StepCandidate {
  /** Name of the program that computes it. */
  readonly program: string;
  /** Position of its first known token that is not computed. */
  readonly begin: number;
  /** Known tokens from there on that the step may compute, at least 1. */
  readonly left: number;
  /** Whether that is one generated token, so that its next step gives another. */
  readonly decodes: boolean;
  /** Guesses that are checked behind that token; 0 unless it decodes. */
  readonly guesses: number;
  /** Positions that one submission computes together, or none. */
  readonly spans: readonly TokenSpan[];
}

export interface StepLimits<T extends StepCandidate> {
  /** Prompt tokens and guesses of a step, over all programs. */
  readonly chunk: number;
  /** Tokens that a submission of the candidate's program takes. */
  readonly tokensOf: (candidate: T) => number;
  /** Which numbers of tokens the device computes. */
  readonly rows: RowShapes;
}

/** What one program computes of a step. */
export interface PlannedSubmission<T extends StepCandidate> {
  readonly program: string;
  /** In order: those that decode, then those with a chunk. */
  readonly portions: readonly PlannedPortion<T>[];
  /** Whether some of its tokens are those of a chunk. */
  readonly prompts: boolean;
}

export interface PlannedPortion<T extends StepCandidate> {
  readonly candidate: T;
  /** Known tokens that are computed, the candidate's first; its guesses come on top. */
  readonly count: number;
}

interface Draft<T extends StepCandidate> {
  readonly program: string;
  readonly decoding: PlannedPortion<T>[];
  readonly chunks: PlannedPortion<T>[];
  /** Tokens of those that decode and of their guesses. */
  decodingTokens: number;
  chunkTokens: number;
  /** Tokens of this program that wait for a later step. */
  later: number;
}

/** The submissions of a step, in order. A job that none of them has room for waits. */
export function planStep<T extends StepCandidate>(
  candidates: readonly T[],
  { chunk, tokensOf, rows }: StepLimits<T>,
): PlannedSubmission<T>[] {
  const drafts = new Map<string, Draft<T>>();
  const draftOf = ({ program }: T): Draft<T> => {
    let draft = drafts.get(program);
    if (!draft) {
      draft = { program, decoding: [], chunks: [], decodingTokens: 0, chunkTokens: 0, later: 0 };
      drafts.set(program, draft);
    }
    return draft;
  };
  let chunkLeft = chunk;
  for (const candidate of candidates) {
    if (!candidate.decodes) continue;
    const draft = draftOf(candidate);
    const tokens = 1 + candidate.guesses;
    if (draft.decodingTokens + tokens > tokensOf(candidate)) continue;
    draft.decoding.push({ candidate, count: 1 });
    draft.decodingTokens += tokens;
    chunkLeft -= candidate.guesses;
  }
  for (const candidate of candidates) {
    if (candidate.decodes) continue;
    const draft = draftOf(candidate);
    const { begin, left, spans } = candidate;
    const room = Math.min(chunkLeft, tokensOf(candidate) - draft.decodingTokens - draft.chunkTokens);
    const count = left <= room ? left : uncutCount(spans, begin, room);
    draft.later += left - count;
    if (count <= 0) continue;
    draft.chunks.push({ candidate, count });
    draft.chunkTokens += count;
    chunkLeft -= count;
  }
  const planned: PlannedSubmission<T>[] = [];
  for (const draft of drafts.values()) {
    if (rows.kind !== 'any') trim(draft, rows);
    const { program, decoding, chunks } = draft;
    if (decoding.length + chunks.length === 0) continue;
    planned.push({ program, portions: [...decoding, ...chunks], prompts: chunks.length > 0 });
  }
  return planned;
}

/** Leaves to later steps what would make the device pad much, the youngest chunks first. */
function trim<T extends StepCandidate>(draft: Draft<T>, rows: RowShapes): void {
  const { chunks, decodingTokens } = draft;
  let excess = draft.chunkTokens - fittingChunk(rows, decodingTokens, draft.chunkTokens, draft.later > 0);
  for (let last = chunks.length - 1; last >= 0 && excess > 0; last--) {
    const { candidate, count } = chunks[last]!;
    const less = excess >= count ? 0 : uncutCount(candidate.spans, candidate.begin, count - excess);
    // A step without any chunk would keep prompts waiting for ever.
    if (less === 0 && last === 0) return;
    if (less === 0) chunks.pop();
    else chunks[last] = { candidate, count: less };
    excess -= count - less;
  }
}

/**
 * What is padded at the end of a prompt may waste so much: a submission fewer is worth a quarter of its rows. In the
 * middle of a prompt nothing is gained by it.
 */
const worthwhileFill = 0.75;

/**
 * How many of `chunk` prompt tokens a submission takes beside `fixed` tokens that it has anyway: as many as fill the rows
 * that the device computes, or all of them where padding costs less than another submission.
 *
 * @param later whether more prompt tokens follow in any case
 */
export function fittingChunk(rows: RowShapes, fixed: number, chunk: number, later: boolean): number {
  const total = fixed + chunk;
  const padded = paddedRows(rows, total);
  const full = fullRows(rows, total);
  if (padded === total || full <= fixed) return chunk;
  // Prompt tokens for each computed row.
  const fillPadded = chunk / padded;
  const fillFull = (full - fixed) / full;
  return fillPadded >= (later ? 1 : worthwhileFill) * fillFull ? chunk : full - fixed;
}

/** The largest number of rows up to `total` that the device computes without padding; 0 when there is none. */
function fullRows(rows: RowShapes, total: number): number {
  switch (rows.kind) {
    case 'any':
      return total;
    case 'grain':
      return total - (total % rows.grain);
    case 'buckets': {
      const largest = rows.buckets.at(-1) ?? total;
      const whole = total - (total % largest);
      return whole + (rows.buckets.findLast((bucket) => bucket <= total - whole) ?? 0);
    }
  }
}
