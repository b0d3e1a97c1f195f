/**
 * Which neighbours may become one token, and which of two merges comes first. Two kinds: a ranked list of pairs
 * (tokenizer.json, byte-level GGUF), and a score per token (SentencePiece), where every pair whose spelling is a token
 * may merge. The order of the work itself is `byte-pair-merger.ts`.
 */
import { UnicornError } from '@unicorn-exec/tensor';
import type { Vocabulary } from './vocabulary.js';

export interface MergeRules {
  /** A name for the merge of two neighbouring symbols, if there is one. */
  find(left: number, right: number): number | undefined;
  /** Smaller goes first; equal ones from left to right. An integer in [0, 2^27). */
  priority(merge: number): number;
  /** The token that the merge makes. */
  result(merge: number): number;
}

/** One entry of a merge list: `"a b"`, or `["a", "b"]` where spellings may hold spaces. */
export type MergeEntry = string | readonly [string, string];

/** No published list has more than 2^19 merges; the table of this many takes 400 MB. */
const maxMerges = 2 ** 24;

/** `find` in an open-addressed table of id pairs: 12 bytes a slot, at most half full. A merge's name is its rank. */
export class RankedMerges implements MergeRules {
  readonly #results: Int32Array;
  /** Per slot: left id, right id, rank + 1 (0 is an empty slot). */
  readonly #slots: Int32Array;
  readonly #mask: number;
  /** Random, so that no file can be written whose pairs all collide. */
  readonly #seed = (Math.random() * 2 ** 31) | 1;

  /** @throws UnicornError `format/tokenizer` when an entry is no pair or names a token that the vocabulary lacks. */
  constructor(merges: readonly MergeEntry[], vocabulary: Vocabulary) {
    if (merges.length > maxMerges) {
      throw new UnicornError(
        'format/tokenizer',
        `The tokenizer lists ${merges.length} merges; the limit is ${maxMerges}.`,
        {
          fields: { merges: merges.length, limit: maxMerges },
        },
      );
    }
    const capacity = 2 ** Math.ceil(Math.log2(2 * merges.length + 2));
    this.#mask = capacity - 1;
    this.#slots = new Int32Array(3 * capacity);
    this.#results = new Int32Array(merges.length);
    for (let rank = 0; rank < merges.length; rank++) {
      const [left, right] = parts(merges[rank]!, rank);
      const leftId = vocabulary.ordinaryIdOf(left);
      const rightId = vocabulary.ordinaryIdOf(right);
      const result = vocabulary.ordinaryIdOf(left + right);
      if (leftId === undefined || rightId === undefined || result === undefined) {
        const missing = leftId === undefined ? left : rightId === undefined ? right : left + right;
        throw new UnicornError(
          'format/tokenizer',
          `Merge ${rank} needs the token ${JSON.stringify(missing)}, which the vocabulary lacks.`,
          { fields: { merge: rank, missing } },
        );
      }
      this.#results[rank] = result;
      const slot = this.#slotOf(leftId, rightId);
      this.#slots[slot] = leftId;
      this.#slots[slot + 1] = rightId;
      this.#slots[slot + 2] = rank + 1; // a pair listed twice keeps its last rank, as in the reference
    }
  }

  find(left: number, right: number): number | undefined {
    const entry = this.#slots[this.#slotOf(left, right) + 2]!;
    return entry === 0 ? undefined : entry - 1;
  }

  priority(merge: number): number {
    return merge;
  }

  result(merge: number): number {
    return this.#results[merge]!;
  }

  /** Index of the pair's slot, or of the empty slot where it would go. */
  #slotOf(left: number, right: number): number {
    const slots = this.#slots;
    let hash = Math.imul(left ^ this.#seed, 0x9e3779b1) ^ Math.imul(right, 0x85ebca6b);
    hash = Math.imul(hash ^ (hash >>> 15), this.#seed);
    for (let i = (hash ^ (hash >>> 13)) & this.#mask; ; i = (i + 1) & this.#mask) {
      const slot = 3 * i;
      if (slots[slot + 2] === 0 || (slots[slot] === left && slots[slot + 1] === right)) return slot;
    }
  }
}

function parts(entry: MergeEntry, rank: number): readonly [string, string] {
  if (typeof entry === 'string') {
    // The space at index 0 would leave nothing on the left, so the separator is the first one after it.
    const space = entry.indexOf(' ', 1);
    if (space > 0) return [entry.slice(0, space), entry.slice(space + 1)];
  } else if (
    Array.isArray(entry) &&
    entry.length === 2 &&
    typeof entry[0] === 'string' &&
    typeof entry[1] === 'string'
  ) {
    return entry;
  }
  throw new UnicornError('format/tokenizer', `Merge ${rank} is not a pair of tokens.`, {
    fields: { merge: rank },
  });
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
    this.#priorities = new Int32Array(vocabulary.size).fill(never);
    const ids = Uint32Array.from({ length: scores.length }, (_, id) => id).sort(
      (a, b) => scores[b]! - scores[a]! || a - b,
    );
    let priority = 0;
    ids.forEach((id, i) => {
      if (i > 0 && scores[id]! < scores[ids[i - 1]!]!) priority = i;
      if (mergeable(id)) this.#priorities[id] = priority;
    });
  }

  find(left: number, right: number): number | undefined {
    const size = this.#vocabulary.size;
    if (left >= size || right >= size) return undefined;
    const id = this.#vocabulary.ordinaryIdOf(
      this.#vocabulary.pieceOf(left) + this.#vocabulary.pieceOf(right),
    );
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
