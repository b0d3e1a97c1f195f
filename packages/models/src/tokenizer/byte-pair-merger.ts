/**
 * Byte-pair encoding proper: symbols in, the fewest symbols that the rules allow out. Its slow twin, which looks for the
 * best pair again after every merge, is in the tests.
 *
 * A heap of candidate merges over a linked list of symbols makes it O(n log n): a megabyte of one letter is one word to
 * some splitting patterns, and Gemma's whole text is one word.
 */
import { invariant } from '@unicorn-exec/tensor';
import type { MergeRules } from './merge-rules.js';

/** A heap key is `priority * 2^26 + position`; with priorities below 2^27 it stays below 2^53, an exact double. */
const positions = 2 ** 26;
/** Longer words than this get scratch memory of their own, so that one long text does not hold megabytes for ever. */
const keptSymbols = 2 ** 14;
const none = -1;
/** Pairs whose merge is remembered: 400 kB, and most pairs of a text are among them. */
const rememberedPairs = 2 ** 15;

interface Scratch {
  previous: Int32Array;
  next: Int32Array;
  /** The merge of the symbol at this position with the next one, or `none`. */
  merge: Int32Array;
  /** At most n - 1 candidates at first, and each of at most n - 1 merges takes one and adds at most two. */
  heap: Float64Array;
}

function scratchFor(count: number): Scratch {
  return {
    previous: new Int32Array(count),
    next: new Int32Array(count),
    merge: new Int32Array(count),
    heap: new Float64Array(2 * count),
  };
}

export class BytePairMerger {
  readonly #rules: MergeRules;
  readonly #kept = scratchFor(keptSymbols);
  /** Per place, which a pair's hash decides: left symbol + 1, right symbol, merge or `none`. */
  readonly #remembered = new Int32Array(3 * rememberedPairs);

  constructor(rules: MergeRules) {
    this.#rules = rules;
  }

  /** Merges the first `count` symbols, at most 2^26, in place and returns how many are left. */
  merge(symbols: Int32Array, count: number): number {
    invariant(count <= positions, `A piece of text has ${count} symbols; the limit is ${positions}.`);
    if (count < 2) return count;
    const rules = this.#rules;
    const { previous, next, merge, heap } = count <= keptSymbols ? this.#kept : scratchFor(count);
    let heapSize = 0;

    const offer = (position: number) => {
      const right = next[position]!;
      const found = right === count ? none : this.#find(symbols[position]!, symbols[right]!);
      merge[position] = found;
      if (found === none) return;
      const key = rules.priority(found) * positions + position;
      let hole = heapSize++;
      while (hole > 0) {
        const parent = (hole - 1) >> 1;
        if (heap[parent]! <= key) break;
        heap[hole] = heap[parent]!;
        hole = parent;
      }
      heap[hole] = key;
    };

    const take = (): number => {
      const top = heap[0]!;
      const last = heap[--heapSize]!;
      let hole = 0;
      for (;;) {
        let child = 2 * hole + 1;
        if (child >= heapSize) break;
        if (child + 1 < heapSize && heap[child + 1]! < heap[child]!) child++;
        if (heap[child]! >= last) break;
        heap[hole] = heap[child]!;
        hole = child;
      }
      heap[hole] = last;
      return top;
    };

    for (let i = 0; i < count; i++) {
      previous[i] = i - 1;
      next[i] = i + 1;
    }
    for (let i = 0; i < count; i++) offer(i);
    while (heapSize > 0) {
      const key = take();
      const position = key % positions;
      const found = merge[position]!;
      // A candidate is stale once either of its symbols has merged with another.
      if (found === none || rules.priority(found) !== (key - position) / positions) continue;
      const right = next[position]!;
      const after = next[right]!;
      symbols[position] = rules.result(found);
      merge[right] = none;
      next[position] = after;
      if (after < count) previous[after] = position;
      offer(position);
      if (position > 0) offer(previous[position]!);
    }

    let left = 0;
    for (let i = 0; i < count; i = next[i]!) symbols[left++] = symbols[i]!;
    return left;
  }

  #find(left: number, right: number): number {
    const remembered = this.#remembered;
    const hash = Math.imul(left, 0x9e3779b1) ^ Math.imul(right, 0x85ebca6b);
    const place = 3 * ((hash ^ (hash >>> 15)) & (rememberedPairs - 1));
    if (remembered[place] !== left + 1 || remembered[place + 1] !== right) {
      remembered[place] = left + 1;
      remembered[place + 1] = right;
      remembered[place + 2] = this.#rules.find(left, right) ?? none;
    }
    return remembered[place + 2]!;
  }
}
