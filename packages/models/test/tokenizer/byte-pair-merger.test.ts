import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BytePairMerger } from '../../src/tokenizer/byte-pair-merger.js';
import { MergeList, type MergeEntry } from '../../src/tokenizer/merge-list.js';
import { RankedMerges, ScoredMerges, type MergeRules } from '../../src/tokenizer/merge-rules.js';
import { Vocabulary } from '../../src/tokenizer/vocabulary.js';

/** The slow twin: after every merge, looks at all pairs again. */
function mergeSlowly(rules: MergeRules, symbols: readonly number[]): number[] {
  const list = [...symbols];
  for (;;) {
    let best: { at: number; merge: number } | undefined;
    for (let at = 0; at + 1 < list.length; at++) {
      const merge = rules.find(list[at]!, list[at + 1]!);
      if (merge === undefined) continue;
      if (best === undefined || rules.priority(merge) < rules.priority(best.merge)) best = { at, merge };
    }
    if (best === undefined) return list;
    list.splice(best.at, 2, rules.result(best.merge));
  }
}

function mergeFast(rules: MergeRules, symbols: readonly number[]): number[] {
  const array = Int32Array.from(symbols);
  return [...array.subarray(0, new BytePairMerger(rules).merge(array, array.length))];
}

/** Words over a, b, c as tokens, the letters first. */
const words = fc
  .uniqueArray(fc.string({ unit: fc.constantFrom('a', 'b', 'c'), minLength: 2, maxLength: 6 }), {
    maxLength: 40,
  })
  .map((longer) => ['a', 'b', 'c', ...longer]);
const letters = fc.array(fc.nat(2), { maxLength: 80 });

function vocabularyOf(pieces: readonly string[]): Vocabulary {
  const vocabulary = new Vocabulary();
  pieces.forEach((piece, id) => vocabulary.set(id, piece));
  return vocabulary;
}

function rankedMerges(entries: readonly MergeEntry[], vocabulary: Vocabulary): RankedMerges {
  return new RankedMerges(MergeList.of(entries, vocabulary));
}

describe('BytePairMerger', () => {
  it('merges as its slow twin does, by rank', () => {
    fc.assert(
      fc.property(words, letters, fc.infiniteStream(fc.nat()), (pieces, symbols, random) => {
        const vocabulary = vocabularyOf(pieces);
        const pairs = pieces.flatMap((piece) =>
          Array.from(
            { length: piece.length - 1 },
            (_, i) => [piece.slice(0, i + 1), piece.slice(i + 1)] as const,
          ),
        );
        const merges = pairs
          .filter((pair) => pair.every((part) => pieces.includes(part)))
          .map((pair) => ({ pair, order: random.next().value! }))
          .sort((a, b) => a.order - b.order)
          .map(({ pair }) => pair as [string, string]);
        const rules = rankedMerges(merges, vocabulary);
        expect(mergeFast(rules, symbols)).toEqual(mergeSlowly(rules, symbols));
      }),
      { numRuns: 300 },
    );
  });

  it('merges as its slow twin does, by score with ties', () => {
    fc.assert(
      fc.property(
        words,
        letters,
        fc.array(fc.nat(5), { minLength: 43, maxLength: 43 }),
        (pieces, symbols, scores) => {
          const rules = new ScoredMerges(scores.slice(0, pieces.length), vocabularyOf(pieces), () => true);
          expect(mergeFast(rules, symbols)).toEqual(mergeSlowly(rules, symbols));
        },
      ),
      { numRuns: 300 },
    );
  });

  it('takes long words in about linear time', () => {
    const rules = rankedMerges(['a a', 'aa aa', 'aaaa aaaa'], vocabularyOf(['a', 'aa', 'aaaa', 'aaaaaaaa']));
    const count = 300_001;
    const symbols = new Int32Array(count);
    const started = performance.now();
    expect(new BytePairMerger(rules).merge(symbols, count)).toBe(Math.floor(count / 8) + 1);
    // Quadratic work would be 9e10 steps, minutes; the limit leaves a slow machine a factor of twenty.
    expect(performance.now() - started).toBeLessThan(5000);
  });
});

describe('RankedMerges', () => {
  it('keeps the last rank of a pair listed twice, and finds every pair of a large table', () => {
    const pieces = Array.from({ length: 500 }, (_, i) => String.fromCodePoint(0x4e00 + i));
    const merges = pieces.slice(0, 499).map((piece, i) => [piece, pieces[i + 1]!] as [string, string]);
    const vocabulary = vocabularyOf([...pieces, ...merges.map((pair) => pair.join(''))]);
    const rules = rankedMerges([...merges, merges[7]!], vocabulary);
    for (let i = 0; i < 499; i++) {
      const merge = rules.find(i, i + 1)!;
      expect(merge).toBe(i === 7 ? 499 : i);
      expect(rules.result(merge)).toBe(500 + i);
      expect(rules.find(i + 1, i)).toBeUndefined();
    }
  });
});
