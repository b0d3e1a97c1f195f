/** A sequence's positions: what each of them is, where its keys and values lie, and what computed them. It decides nothing. */
import type { SequenceSlots } from './sequence-slots.js';
import type { TokenSpan } from './token-span.js';

/**
 * What a position holds, for the search of common prefixes: the token's id or, where its row was given instead of
 * embedded, the key of the content.
 */
export type PrefixKey = number | string;

/** What computes the keys and values of a sequence. Two positions of equal origin and equal prefix are the same bits. */
export interface KvOrigin {
  /** Name of the model size. */
  readonly size: string;
  /** The classes of bits of positions before the end of the prompt, and of those behind it. */
  readonly numerics: { readonly prompt: string; readonly token: string };
  /** Positions of the prompt. */
  readonly promptLength: number;
}

/** Positions up to `end` were computed by this size, in this class of bits. */
export interface KvRun {
  end: number;
  readonly size: string;
  readonly numerics: string;
}

/** A sequence's tokens and where their keys and values are. */
export class KvSequence {
  /** For each group the block of each `blockTokens` positions; 0 where there is none yet or none any more. */
  readonly tables: readonly Int32Array[];
  /** Positions whose keys and values are stored. */
  computed = 0;
  /** Positions taken over from the prefix cache. */
  reused = 0;
  /** For each group the first column that is still held, and the first that is not held yet. */
  readonly first: Int32Array;
  readonly filled: Int32Array;
  /** For each group the blocks reserved; zeros when idle. */
  readonly reserved: Int32Array;
  /** Slots of the states that are not keys and values; undefined where the model has none. */
  slots: SequenceSlots | undefined;
  /** By what the computed positions were computed, in order. */
  runs: KvRun[] = [];

  /**
   * @param tokens known token ids, computed or not; shared with the owner while live
   * @param keys of the same positions; the ids themselves where no row was given
   * @param groups how many KV groups there are, and the columns of their tables
   */
  constructor(
    public tokens: readonly number[],
    public keys: readonly PrefixKey[],
    readonly spans: readonly TokenSpan[],
    readonly origin: KvOrigin,
    { groups, columns }: { readonly groups: number; readonly columns: number },
  ) {
    this.tables = Array.from({ length: groups }, () => new Int32Array(columns));
    this.first = new Int32Array(groups);
    this.filled = new Int32Array(groups);
    this.reserved = new Int32Array(groups);
  }

  /** Positions up to `end` are computed now, by the sequence's own origin. */
  advance(end: number): void {
    const { promptLength, numerics } = this.origin;
    if (numerics.prompt !== numerics.token && this.computed < promptLength && end > promptLength) {
      this.#extendRun(promptLength, numerics.prompt);
    }
    this.#extendRun(end, end > promptLength ? numerics.token : numerics.prompt);
    this.computed = end;
  }

  /** Keeps the first `length` positions of another sequence's runs. */
  takeRuns({ runs }: KvSequence, length: number): void {
    const kept = runs.findIndex(({ end }) => end >= length);
    this.runs = [...runs.slice(0, kept), { ...runs[kept]!, end: length }];
  }

  /** How many of the leading positions, at most `limit`, are what `origin` would have computed. */
  sameOrigin({ size, numerics, promptLength }: KvOrigin, limit: number, exact: boolean): number {
    let begin = 0;
    for (const run of this.runs) {
      if (begin >= limit) break;
      if (run.size !== size) return begin;
      if (exact) {
        const ofPrompt = run.numerics === numerics.prompt;
        const ofTokens = run.numerics === numerics.token;
        // Positions of the prompt come before the others, so the first that differs ends what is the same.
        if (begin < promptLength && !ofPrompt) return begin;
        if (run.end > promptLength && !ofTokens) return Math.min(limit, Math.max(begin, promptLength));
      }
      begin = run.end;
    }
    return limit;
  }

  #extendRun(end: number, numerics: string): void {
    const { size } = this.origin;
    const last = this.runs.at(-1);
    if (last?.size === size && last.numerics === numerics) last.end = end;
    else this.runs.push({ end, size, numerics });
  }
}
