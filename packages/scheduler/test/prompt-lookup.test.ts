import { describe, expect, it } from 'vitest';
import { lookUp } from '../src/draft/prompt-lookup.js';

describe('lookUp', () => {
  it('takes the longest suffix that was there before, of equal ones the latest', () => {
    expect(lookUp([1, 2, 3, 4, 9, 2, 3, 5, 8, 1, 2, 3], 3)).toEqual({ tokens: [4, 9, 2], matched: 3 });
    expect(lookUp([7, 2, 3, 4, 9, 2, 3, 5, 8, 1, 2, 3], 2)).toEqual({ tokens: [5, 8], matched: 2 });
    expect(lookUp([3, 5, 3, 6, 3], 2)).toEqual({ tokens: [6, 3], matched: 1 });
  });

  it('continues a period, also one of a single id', () => {
    expect(lookUp([1, 2, 1, 2, 1, 2], 5)).toEqual({ tokens: [1, 2, 1, 2, 1], matched: 3 });
    expect(lookUp([4, 4], 3)).toEqual({ tokens: [4, 4, 4], matched: 1 });
  });

  it('has no guess without a match or without room', () => {
    for (const tokens of [[], [1], [1, 2, 3]]) expect(lookUp(tokens, 4)).toBeUndefined();
    expect(lookUp([1, 1], 0)).toBeUndefined();
    expect(lookUp([1, 1], -1)).toBeUndefined();
  });

  it('agrees with a search that tries every place', () => {
    const naive = (tokens: number[]): number[] | undefined => {
      for (const length of [3, 2, 1]) {
        for (let next = tokens.length - 1; next >= length; next--) {
          if (tokens.slice(next - length, next).join() !== tokens.slice(-length).join()) continue;
          return tokens.slice(next, next + 1);
        }
      }
      return undefined;
    };
    for (let seed = 0; seed < 500; seed++) {
      const tokens = Array.from({ length: seed % 17 }, (_, i) => ((seed * 31 + i * i * 7) >> (i % 5)) % 4);
      expect(lookUp(tokens, 1)?.tokens).toEqual(naive(tokens));
    }
  });
});
