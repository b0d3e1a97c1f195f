import { describe, expect, it } from 'vitest';
import { floatToHalf, HostTensor, type DType } from '../../src/index.js';
import { evaluateOp, f32, i32, valuesOf } from './evaluate-op.js';

/** Two blocks beside the sink, two tokens each, one head. */
function emptyState(dtype: DType, headDim: number): HostTensor {
  return HostTensor.zeros(dtype, [3, 2, 1, 2, headDim]);
}

describe('kvWrite', () => {
  it('stores keys before values, block by block', () => {
    const state = emptyState('f32', 1);
    const inputs = {
      state,
      key: f32([3, 1, 1], [1, 2, 3]),
      value: f32([3, 1, 1], [10, 20, 30]),
      slots: i32([3], [5, 2, 4]),
    };
    expect(evaluateOp('kvWrite', inputs)[0]).toBe(state);
    // Blocks of two keys and two values; the sink is untouched.
    expect([...state.floats]).toEqual([0, 0, 0, 0, 2, 0, 20, 0, 3, 1, 30, 10]);
  });

  it('encodes q8_0 as ggml does: scale max / 127, halves away from zero', () => {
    const state = emptyState('q8_0', 32);
    // Scale 1: 127 / 127. Then 2.5 becomes 3 and -2.5 becomes -3.
    const key = f32([1, 1, 32], [127, 2.5, -2.5, 0.49, -126.5, ...new Array<number>(27).fill(0)]);
    evaluateOp('kvWrite', { state, key, value: key, slots: i32([1], [2]) });
    const row = state.bytes.subarray(2 * 2 * 34, 2 * 2 * 34 + 34);
    expect(row[0]! | (row[1]! << 8)).toBe(floatToHalf(1));
    expect([...new Int8Array(row.slice(2, 7).buffer)]).toEqual([127, 3, -3, 0, -127]);
  });

  it('encodes f16 and bf16 to nearest even', () => {
    for (const [dtype, tie, even] of [
      ['f16', 1 + 2 ** -11, 1],
      ['bf16', 1 + 3 * 2 ** -8, 1 + 2 ** -6],
    ] as const) {
      const state = emptyState(dtype, 1);
      evaluateOp('kvWrite', {
        state,
        key: f32([1, 1, 1], [tie]),
        value: f32([1, 1, 1], [-tie]),
        slots: i32([1], [2]),
      });
      expect([...state.toFloats()].filter((value) => value !== 0)).toEqual([even, -even]);
    }
  });

  it.each([[6], [-1]])('refuses slot %i', (slot) => {
    const one = f32([1, 1, 1], [1]);
    const inputs = { state: emptyState('f32', 1), key: one, value: one, slots: i32([1], [slot]) };
    expect(() => evaluateOp('kvWrite', inputs)).toThrow(expect.objectContaining({ code: 'usage/slot' }));
  });
});

describe('a state of keys alone', () => {
  const keys = HostTensor.zeros('f32', [3, 1, 2, 2, 2]);
  const both = HostTensor.zeros('f32', [3, 2, 2, 2, 2]);
  const key = f32([3, 2, 2], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
  const slots = i32([3], [4, 5, 2]);

  it('is written without values, and read for both', () => {
    evaluateOp('kvWrite', { state: keys, key, slots });
    evaluateOp('kvWrite', { state: both, key, value: key, slots });
    const reading = {
      query: f32(
        [3, 4, 2],
        Array.from({ length: 24 }, (_, i) => Math.sin(i)),
      ),
      positions: i32([3], [0, 1, 2]),
      starts: i32([1], [0]),
      blocks: i32([1, 2], [2, 1]),
    };
    const scale = { scale: 0.3 };
    expect(valuesOf('attention', { ...reading, state: keys }, scale)).toEqual(
      valuesOf('attention', { ...reading, state: both }, scale),
    );
  });

  it('takes no values, and one of both takes no keys alone', () => {
    const refused = expect.objectContaining({ code: 'usage/shape' });
    expect(() => evaluateOp('kvWrite', { state: keys, key, value: key, slots })).toThrow(refused);
    expect(() => evaluateOp('kvWrite', { state: both, key, slots })).toThrow(refused);
  });
});

describe('attention', () => {
  /** Keys 0, 1, 2 of one sequence in blocks 2 and 1; value of key p is 10 ** p. */
  function state(): HostTensor {
    const tensor = emptyState('f32', 1);
    const inputs = {
      state: tensor,
      key: f32([3, 1, 1], [0, Math.LN2, Math.log(5)]),
      value: f32([3, 1, 1], [1, 10, 100]),
      slots: i32([3], [4, 5, 2]),
    };
    evaluateOp('kvWrite', inputs);
    return tensor;
  }
  const sequence = { starts: i32([1], [0]), blocks: i32([1, 2], [2, 1]) };
  const attend = (
    positions: readonly number[],
    attributes: Record<string, number> = {},
    more: Record<string, HostTensor> = {},
  ): number[] =>
    valuesOf(
      'attention',
      {
        query: f32(
          [positions.length, 1, 1],
          positions.map(() => 1),
        ),
        state: state(),
        positions: i32([positions.length], positions),
        ...sequence,
        ...more,
      },
      { scale: 1, ...attributes },
    ).map((value) => Math.round(value * 1e4) / 1e4);

  it('weighs values by the softmax of scores, up to the own position', () => {
    // Weights 1 : 2 : 5.
    expect(attend([0, 1, 2])).toEqual([1, 7, 65.125]);
  });

  it('sees a window, a reach, and scaled or capped scores', () => {
    expect(attend([2], { window: 2 })).toEqual([Math.round((1e4 * 520) / 7) / 1e4]);
    expect(attend([0], {}, { reach: i32([1], [1]) })).toEqual([7]);
    // Scores doubled: weights 1 : 4.
    expect(attend([1], { scale: 2 })).toEqual([8.2]);
    // 1e-3 tanh(...) makes all scores equal.
    expect(attend([2], { softcap: 1e-9 })).toEqual([37]);
  });

  it('gives zero where no key is seen, and leaves rows outside all sequences zero', () => {
    expect(attend([2], { window: 1 }, { reach: i32([1], [0]) })).toEqual([0]);
    expect(attend([0, 1], {}, { starts: i32([1], [1]) })).toEqual([0, 7]);
  });

  it('shares a KV head among its query heads', () => {
    const wide = HostTensor.zeros('f32', [2, 2, 2, 1, 1]);
    const key = f32([1, 2, 1], [1, 1]);
    evaluateOp('kvWrite', { state: wide, key, value: f32([1, 2, 1], [7, 8]), slots: i32([1], [1]) });
    const inputs = {
      query: f32([1, 4, 1], [1, 2, 3, 4]),
      state: wide,
      positions: i32([1], [0]),
      starts: i32([1], [0]),
      blocks: i32([1, 1], [1]),
    };
    expect(valuesOf('attention', inputs, { scale: 1 })).toEqual([7, 7, 8, 8]);
  });

  it('refuses positions beyond the table, blocks beyond the pool and starts that do not ascend', () => {
    const code = (name: string) => expect.objectContaining({ code: name });
    expect(() => attend([4])).toThrow(code('usage/block-table'));
    expect(() => attend([2], {}, { blocks: i32([1, 2], [2, 3]) })).toThrow(code('usage/slot'));
    const blocks = i32([2, 2], [2, 1, 2, 1]);
    for (const starts of [
      [1, 0],
      [0, 2],
      [-1, 0],
    ]) {
      expect(() => attend([0], {}, { blocks, starts: i32([2], starts) })).toThrow(code('usage/starts'));
    }
  });
});
