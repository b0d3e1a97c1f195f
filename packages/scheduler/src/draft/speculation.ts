/** What a caller asks of speculation and what it is told of it; it guesses nothing. */
import { UnicornError, type ElasticSize } from '@unicorn-exec/tensor';

export interface SpeculationOptions {
  /**
   * What guesses: a smaller slice of the same weights, over the KV cache of the request's own size; or `ngram`: what
   * followed the last time that the text (prompt and answer) ended as it does now, which costs nothing.
   */
  readonly draft: ElasticSize | 'ngram';
  /** Tokens drafted in one step at most, 1 to {@link maxDraftTokens}. Default {@link defaultDraftTokens}. */
  readonly maxTokens?: number | undefined;
  /** Default true: as many as pay, by measured times and acceptance, often none. False: always `maxTokens`. */
  readonly adaptive?: boolean | undefined;
}

/** What a request's speculation came to. */
export interface SpeculationUsage {
  /** Guesses that the request's own size checked. */
  readonly draftedTokens: number;
  /** Those that were right. */
  readonly acceptedTokens: number;
  /** Steps that checked any. Each also gives the token after the last right guess. */
  readonly speculationSteps: number;
}

/** Guesses of one sequence in one step: at 90 % each, so many are all right one time in five. */
export const maxDraftTokens = 16;

/** Eight rows with the token that is certain: the rows that matrix kernels take at once. */
export const defaultDraftTokens = 7;

/** @throws UnicornError `usage/speculation` for an unknown draft or a number out of range */
export function checkSpeculation({ draft, maxTokens, adaptive }: SpeculationOptions): void {
  const refuse = (what: string, value: unknown, fix: string): never => {
    throw new UnicornError('usage/speculation', `${what} of speculation cannot be ${String(value)}.`, {
      fields: { value: String(value) },
      fix,
    });
  };
  const isSize = typeof draft === 'object' && draft !== null && Array.isArray(draft.feedForward);
  if (draft !== 'ngram' && !isSize) refuse('The draft', draft, 'Give an elastic size, or "ngram".');
  if (
    maxTokens !== undefined &&
    !(Number.isSafeInteger(maxTokens) && maxTokens >= 1 && maxTokens <= maxDraftTokens)
  ) {
    refuse('maxTokens', maxTokens, `Give a whole number from 1 to ${maxDraftTokens}.`);
  }
  if (adaptive !== undefined && typeof adaptive !== 'boolean')
    refuse('adaptive', adaptive, 'Give true or false.');
}
