/**
 * Which neighbours may become one token, and which of two merges comes first. Two kinds: a ranked list of pairs
 * (tokenizer.json, byte-level GGUF), and a score per token (SentencePiece), where every pair whose spelling is a token
 * may merge. The order of the work itself is `byte-pair-merger.ts`.
 */
import type { MergeList } from './merge-list.js';
import type { Vocabulary } from './vocabulary.js';

export interface MergeRules {
  /** A name for the merge of two neighbouring symbols, if there is one. */
  find(left: number, right: number): number | undefined;
  /** Smaller goes first; equal ones from left to right. An integer in [0, 2^27). */
  priority(merge: number): number;
  /** The token that the merge makes. */
  result(merge: number): number;
}

/**
 * A ranked list. What a pair makes is known by its spelling; the list then says whether that token may be made from this
 * pair, and when. A merge's name is its rank.
 */
export class RankedMerges implements MergeRules {
  readonly #vocabulary: Vocabulary;
  /** Per rank: the token made, and the bytes of its left part. */
  readonly #merges: Int32Array;
  /** Per token: one more than the last rank that makes it, 0 where none does. */
  readonly #last: Int32Array;
  /** Per rank: the same of the rank before it that makes its token from another pair. */
  readonly #earlier: Int32Array;

  /** @param list of all whose vocabulary is complete but for added tokens */
  constructor(list: MergeList) {
    const { vocabulary, merges } = list;
    const last = new Int32Array(vocabulary.size);
    const earlier = new Int32Array(list.length);
    for (let rank = 0; rank < list.length; rank++) {
      const result = merges[2 * rank]!;
      const cut = merges[2 * rank + 1]!;
      earlier[rank] = last[result]!;
      last[result] = rank + 1;
      // A pair listed twice keeps its last rank, as in the reference. Out of the chain with the other one, too: a list
      // of one pair, a million times, is a chain that every search would walk.
      for (let later = rank, entry; (entry = earlier[later]!) !== 0; later = entry - 1) {
        if (merges[2 * (entry - 1) + 1] !== cut) continue;
        earlier[later] = earlier[entry - 1]!;
        break;
      }
    }
    this.#vocabulary = vocabulary;
    this.#merges = merges.slice();
    this.#last = last;
    this.#earlier = earlier;
  }

  find(left: number, right: number): number | undefined {
    const vocabulary = this.#vocabulary;
    if (left >= vocabulary.size || right >= vocabulary.size) return undefined;
    const result = vocabulary.idOfPair(left, right);
    if (result === undefined) return undefined;
    const cut = vocabulary.byteLengthOf(left);
    let entry = this.#last[result] ?? 0;
    while (entry !== 0 && this.#merges[2 * entry - 1] !== cut) entry = this.#earlier[entry - 1]!;
    return entry === 0 ? undefined : entry - 1;
  }

  priority(merge: number): number {
    return merge;
  }

  result(merge: number): number {
    return this.#merges[2 * merge]!;
  }
}

/** SentencePiece: any two neighbours whose spelling is a token merge, higher scores first. A merge's name is its token. */
export class ScoredMerges implements MergeRules {
  /** Place of each token's score in descending order, equal scores sharing one; `never` where a merge must not end. */
  readonly #priorities: Int32Array;
  readonly #vocabulary: Vocabulary;

  /**
   * @param scores one per id
   * @param mergeable whether merging may make this token: not so for control tokens, whatever their spelling
   */
  constructor(scores: ArrayLike<number>, vocabulary: Vocabulary, mergeable: (id: number) => boolean) {
    this.#vocabulary = vocabulary;
    const size = vocabulary.size;
    // Without a comparator a typed array is sorted by native code, six times as fast; a NaN goes last.
    const descending = new Float64Array(size);
    for (let id = 0; id < size; id++) descending[id] = -scores[id]!;
    descending.sort();
    this.#priorities = new Int32Array(size).fill(never);
    for (let id = 0; id < size; id++) {
      if (mergeable(id)) this.#priorities[id] = firstNotBelow(descending, -scores[id]!);
    }
  }

  find(left: number, right: number): number | undefined {
    const size = this.#vocabulary.size;
    if (left >= size || right >= size) return undefined;
    const id = this.#vocabulary.idOfPair(left, right);
    return id === undefined || this.#priorities[id] === never ? undefined : id;
  }

  priority(merge: number): number {
    return this.#priorities[merge]!;
  }

  result(merge: number): number {
    return merge;
  }
}

const never = 2 ** 31 - 1;

/** Index of the first value of an ascending list that is not below `value`; a NaN belongs where the NaNs begin. */
function firstNotBelow(ascending: Float64Array, value: number): number {
  let from = 0;
  let to = ascending.length;
  while (from < to) {
    const middle = (from + to) >> 1;
    if (ascending[middle]! < value || (value !== value && ascending[middle] === ascending[middle]))
      from = middle + 1;
    else to = middle;
  }
  return from;
}
