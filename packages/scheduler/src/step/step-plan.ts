/**
 * Which tokens a step computes: a pure function of what is left of each running job and of the limits. Decoding sequences
 * come first, with their guesses, then prompts, which share the chunk (see {@link shareChunk}); they are never cut inside a
 * span and waste few of the rows that the device computes. It knows neither memory nor devices, and asks nobody.
 */
import { paddedRows, type RowShapes } from '@unicorn-exec/tensor';
import type { TokenSpan } from '../kv/token-span.js';
import { shareChunk } from './chunk-share.js';

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
  /** In order of admission. */
  readonly prompts: T[];
  /** Tokens of each prompt that this step computes. */
  readonly counts: number[];
  /** Tokens of those that decode and of their guesses. */
  decodingTokens: number;
}

/**
 * The submissions of a step, in order. A job that none of them has room for waits.
 *
 * @param candidates in order of admission
 */
export function planStep<T extends StepCandidate>(
  candidates: readonly T[],
  { chunk, tokensOf, rows }: StepLimits<T>,
): PlannedSubmission<T>[] {
  const drafts = new Map<string, Draft<T>>();
  const draftOf = ({ program }: T): Draft<T> => {
    let draft = drafts.get(program);
    if (!draft) {
      draft = { program, decoding: [], prompts: [], counts: [], decodingTokens: 0 };
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
  const prompts = candidates.filter(({ decodes }) => !decodes);
  for (const candidate of prompts) draftOf(candidate).prompts.push(candidate);
  if (prompts.length > 0) {
    const roomOf = (program: string): number => {
      const { prompts: own, decodingTokens } = drafts.get(program)!;
      return tokensOf(own[0]!) - decodingTokens;
    };
    const counts = shareChunk(prompts, chunkLeft, roomOf);
    prompts.forEach((candidate, index) => draftOf(candidate).counts.push(counts[index]!));
  }
  const planned: PlannedSubmission<T>[] = [];
  for (const draft of drafts.values()) {
    const counts = rows.kind === 'any' ? draft.counts : fitted(draft, rows);
    const chunks: PlannedPortion<T>[] = [];
    draft.prompts.forEach((candidate, index) => {
      const count = counts[index]!;
      if (count > 0) chunks.push({ candidate, count });
    });
    const { program, decoding } = draft;
    if (decoding.length + chunks.length === 0) continue;
    planned.push({ program, portions: [...decoding, ...chunks], prompts: chunks.length > 0 });
  }
  return planned;
}

/** Tokens of each prompt without what would make the device pad much, which is left to later steps. */
function fitted<T extends StepCandidate>(
  { prompts, counts, decodingTokens }: Draft<T>,
  rows: RowShapes,
): readonly number[] {
  const tokens = sum(counts);
  const later = prompts.some(({ left }, index) => counts[index]! < left);
  const fitting = fittingChunk(rows, decodingTokens, tokens, later);
  if (fitting === tokens) return counts;
  const fewer = shareChunk(prompts, fitting, () => fitting);
  // A span that does not fit is computed nevertheless: its prompt, the oldest that this step computes, would wait for ever.
  return fewer[counts.findIndex((count) => count > 0)]! > 0 ? fewer : counts;
}

function sum(counts: readonly number[]): number {
  return counts.reduce((total, count) => total + count, 0);
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
