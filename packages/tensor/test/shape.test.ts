import { describe, expect, it } from 'vitest';
import { broadcastShapes, elementCount, formatShape, resolveShape, sameShape } from '../src/index.js';

describe('shapes', () => {
  it('take their values from the dims', () => {
    expect(resolveShape(['tokens', 4], { tokens: 3, other: 9 })).toEqual([3, 4]);
    expect(resolveShape([], {})).toEqual([]);
    expect(elementCount([3, 4])).toBe(12);
    expect(elementCount([])).toBe(1);
    expect(formatShape(['tokens', 4])).toBe('[tokens, 4]');
  });

  it.each([[{}], [{ tokens: -1 }], [{ tokens: 1.5 }], [{ tokens: NaN }]])('refuse %o', (dims) => {
    expect(() => resolveShape(['tokens'], dims as Record<string, number>)).toThrow(
      expect.objectContaining({ code: 'usage/dims' }),
    );
  });

  it('are the same by symbol, not by value', () => {
    expect(sameShape(['tokens', 2], ['tokens', 2])).toBe(true);
    expect(sameShape(['tokens'], ['rows'])).toBe(false);
    expect(sameShape([1], [1, 1])).toBe(false);
  });

  it.each([
    [['tokens', 4], [4], ['tokens', 4]],
    [[4], ['tokens', 4], ['tokens', 4]],
    [
      ['tokens', 1],
      ['tokens', 4],
      ['tokens', 4],
    ],
    [
      [5, 1, 7],
      [1, 3, 1],
      [5, 3, 7],
    ],
    [[1], [], [1]],
    [['tokens', 4], ['rows', 4], undefined],
    [[3], [4], undefined],
  ] as const)('%o and %o broadcast to %o', (a, b, wanted) => {
    expect(broadcastShapes(a, b)).toEqual(wanted);
  });
});
