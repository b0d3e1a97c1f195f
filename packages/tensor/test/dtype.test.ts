import { describe, expect, it } from 'vitest';
import {
  blockDTypes,
  dtypeLayout,
  dtypes,
  isBlockDType,
  isDType,
  rowBytes,
  tensorBytes,
} from '../src/index.js';

describe('dtypes', () => {
  it('have the block sizes of GGUF', () => {
    // Bits per weight as published for each ggml type.
    const bits: Record<string, number> = {
      q4_0: 4.5,
      q4_1: 5,
      q5_0: 5.5,
      q5_1: 6,
      q8_0: 8.5,
      q2_k: 2.625,
      q3_k: 3.4375,
      q4_k: 4.5,
      q5_k: 5.5,
      q6_k: 6.5625,
      iq1_s: 1.5625,
      iq1_m: 1.75,
      iq2_xxs: 2.0625,
      iq2_xs: 2.3125,
      iq2_s: 2.5625,
      iq3_xxs: 3.0625,
      iq3_s: 3.4375,
      iq4_nl: 4.5,
      iq4_xs: 4.25,
      tq1_0: 1.6875,
      tq2_0: 2.0625,
      mxfp4: 4.25,
      nvfp4: 4.5,
    };
    const actual = blockDTypes.map((dtype) => {
      const { blockSize, blockBytes } = dtypeLayout(dtype);
      return [dtype, (8 * blockBytes) / blockSize];
    });
    expect(Object.fromEntries(actual)).toEqual(bits);
  });

  it('are scalar or packed', () => {
    expect(dtypes).toHaveLength(13 + blockDTypes.length);
    expect(isBlockDType('q4_0')).toBe(true);
    expect(isBlockDType('f64')).toBe(false);
    expect(isDType('q4_0')).toBe(true);
    expect(['Q4_0', 'toString', '__proto__', ''].some(isDType)).toBe(false);
  });
});

describe('sizes', () => {
  it('are of rows and tensors', () => {
    expect(rowBytes('q4_0', 64)).toBe(36);
    expect(rowBytes('f16', 0)).toBe(0);
    expect(tensorBytes('q6_k', [3, 2, 512])).toBe(6 * 420);
    expect(tensorBytes('i32', [])).toBe(4);
    expect(tensorBytes('f32', [0, 7])).toBe(0);
  });

  it('refuse a part of a block', () => {
    expect(() => rowBytes('q4_0', 33)).toThrow(expect.objectContaining({ code: 'format/block-size' }));
    // The row counts, not the whole: 4 rows of 8 are not a block of 32.
    expect(() => tensorBytes('q8_0', [4, 8])).toThrow(expect.objectContaining({ code: 'format/block-size' }));
  });

  it('refuse what no integer can hold', () => {
    expect(() => rowBytes('f64', 2 ** 52)).toThrow(expect.objectContaining({ code: 'format/overflow' }));
    expect(() => tensorBytes('u8', [2 ** 30, 2 ** 30])).toThrow(
      expect.objectContaining({ code: 'format/overflow' }),
    );
  });
});
