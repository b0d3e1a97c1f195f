/**
 * A ranked list of merges while it is read. A merge is kept as the token that it makes and where that is cut in two:
 * that says which pair it is, and needs no look at the parts, of which a list names a million.
 *
 * Entries come as strings (`add`) or as bytes, which costs no string at all (`addBytes`).
 */
import { UnicornError } from '@unicorn-exec/tensor';
import type { Vocabulary } from './vocabulary.js';

/** One entry of a merge list: `"a b"`, or `["a", "b"]` where spellings may hold spaces. */
export type MergeEntry = string | readonly [string, string];

/** No published list has more than 2^20 merges; the tables of this many take 200 MB. */
const maxMerges = 2 ** 24;

export class MergeList {
  readonly vocabulary: Vocabulary;
  /** Per rank: the token made, and the bytes of its left part. */
  #merges: Int32Array;
  #length = 0;
  #lastResult = 0;

  /**
   * @param vocabulary complete but for added tokens
   * @param expected how many merges to make room for; more is taken as needed
   * @throws UnicornError `format/tokenizer` for more than any tokenizer has
   */
  constructor(vocabulary: Vocabulary, expected = 0) {
    if (expected > maxMerges) throw tooMany();
    this.vocabulary = vocabulary;
    this.#merges = new Int32Array(2 * expected);
  }

  /** The list of these entries. @throws as {@link add} */
  static of(entries: readonly MergeEntry[], vocabulary: Vocabulary): MergeList {
    const list = new MergeList(vocabulary, entries.length);
    for (const entry of entries) list.add(entry);
    return list;
  }

  get length(): number {
    return this.#length;
  }

  /** In order of rank: the token that a merge makes, and the bytes of its left part. */
  get merges(): Int32Array {
    return this.#merges.subarray(0, 2 * this.#length);
  }

  /**
   * A part that is not a token is left alone: text never comes to it.
   *
   * @throws UnicornError `format/tokenizer` when the entry is not a pair or makes what the vocabulary lacks
   */
  add(entry: MergeEntry): void {
    const [left, right] = parts(entry, this.#length);
    const result = this.vocabulary.ordinaryIdOf(left + right);
    if (result === undefined || loneSurrogate.test(left)) {
      throw new UnicornError(
        'format/tokenizer',
        `Merge ${this.#length} makes the token ${JSON.stringify(left + right)}, which the vocabulary lacks.`,
        { fields: { merge: this.#length, missing: left + right } },
      );
    }
    this.#push(result, Buffer.byteLength(left));
  }

  /**
   * Adds the merge of `a[aStart, aEnd)` and `b[bStart, bEnd)`, in UTF-8.
   *
   * @returns false, with nothing added, where {@link add} would throw
   */
  addBytes(
    a: Uint8Array,
    aStart: number,
    aEnd: number,
    b: Uint8Array,
    bStart: number,
    bEnd: number,
  ): boolean {
    // Lists are written in the order of the tokens that they make, all ways to make one token together.
    const result = this.vocabulary.idOfJoined(a, aStart, aEnd, b, bStart, bEnd, this.#lastResult);
    if (result === undefined || this.#length === maxMerges) return false;
    this.#lastResult = result;
    this.#push(result, aEnd - aStart);
    return true;
  }

  #push(result: number, cut: number): void {
    if (this.#length === maxMerges) throw tooMany();
    const at = 2 * this.#length++;
    if (at === this.#merges.length) {
      const old = this.#merges;
      this.#merges = new Int32Array(Math.min(2 * maxMerges, Math.max(2048, 2 * at)));
      this.#merges.set(old);
    }
    this.#merges[at] = result;
    this.#merges[at + 1] = cut;
  }
}

const loneSurrogate = /\p{Surrogate}/u;

function tooMany(): UnicornError {
  return new UnicornError(
    'format/tokenizer',
    `The tokenizer lists more merges than the limit of ${maxMerges}.`,
    {
      fields: { limit: maxMerges },
    },
  );
}

/**
 * Where the separator is in an entry `"a b"`, in UTF-8: the first space that leaves something before it; `end` where there
 * is none.
 */
export function separatorIn(bytes: Uint8Array, start: number, end: number): number {
  let at = Math.min(start + 1, end);
  while (at < end && bytes[at] !== 0x20) at++;
  return at;
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
