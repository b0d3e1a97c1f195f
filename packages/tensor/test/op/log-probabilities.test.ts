import { describe, expect, it } from 'vitest';
import { GraphBuilder } from '../../src/index.js';
import { evaluateOp, f32, i32 } from './evaluate-op.js';

describe('logProbabilities', () => {
  const logits = f32([2, 4], [...[0.5, 0.2, 0.2, 0.1].map(Math.log), 1000, -Infinity, 1000, 999]);

  it('of the named token alone', () => {
    const [chosen, ...rest] = evaluateOp('logProbabilities', { logits, ids: i32([2], [1, 0]) });
    expect(rest).toEqual([]);
    expect(chosen!.floats[0]).toBeCloseTo(Math.log(0.2), 6);
    // The softmax of 1000, 1000, 999: 1 / (2 + 1 / e).
    expect(chosen!.floats[1]).toBeCloseTo(-Math.log(2 + Math.exp(-1)), 6);
  });

  it('of the best as well, of equal ones the lower id first', () => {
    const [, ids, values] = evaluateOp('logProbabilities', { logits, ids: i32([2], [0, 0]) }, { top: 4 });
    expect([...ids!.integers]).toEqual([0, 1, 2, 3, 0, 2, 3, 1]);
    expect(values!.floats[3]).toBeCloseTo(Math.log(0.1), 6);
    expect(values!.floats[6]).toBeCloseTo(-1 - Math.log(2 + Math.exp(-1)), 6);
    expect(values!.floats[7]).toBe(-Infinity);
  });

  it('refuses tokens that are not there', () => {
    for (const id of [4, -2]) {
      expect(() => evaluateOp('logProbabilities', { logits, ids: i32([2], [0, id]) })).toThrow(
        expect.objectContaining({ code: 'usage/token-id' }),
      );
    }
    const builder = new GraphBuilder('test');
    const x = builder.input('x', 'f32', ['rows', 4]);
    const ids = builder.input('ids', 'i32', ['rows']);
    for (const top of [5, -1, 0.5]) {
      expect(() => builder.logProbabilities(x, ids, top)).toThrow(
        expect.objectContaining({ code: 'usage/shape' }),
      );
    }
  });
});
