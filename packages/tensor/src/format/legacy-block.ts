/**
 * Blocks of 32 elements with one f16 scale `d` (and, in the `_1` types, one f16 minimum `m`), ggml's first formats.
 * In the 4 and 5 bit types byte i holds element i in its low and element i + 16 in its high nibble; the fifth bit of
 * element i is bit i of a little-endian u32.
 *
 * Every product here is exact in a double (11 significant bits times at most 8) and sums round once, on the store:
 * the results equal those of arithmetic in f32.
 */
import { halfTable } from './half-float.js';
import type { RowDecoder } from './row-decoder.js';

/** `{f16 d; u8 q[16]}`: d * (q - 8). */
export const decodeQ4_0: RowDecoder = (bytes, from, blocks, out, to) => {
  const half = halfTable();
  for (let block = 0; block < blocks; block++, from += 18, to += 32) {
    const d = half[bytes[from]! | (bytes[from + 1]! << 8)]!;
    for (let i = 0; i < 16; i++) {
      const pair = bytes[from + 2 + i]!;
      out[to + i] = d * ((pair & 15) - 8);
      out[to + 16 + i] = d * ((pair >> 4) - 8);
    }
  }
};

/** `{f16 d; f16 m; u8 q[16]}`: d * q + m. */
export const decodeQ4_1: RowDecoder = (bytes, from, blocks, out, to) => {
  const half = halfTable();
  for (let block = 0; block < blocks; block++, from += 20, to += 32) {
    const d = half[bytes[from]! | (bytes[from + 1]! << 8)]!;
    const m = half[bytes[from + 2]! | (bytes[from + 3]! << 8)]!;
    for (let i = 0; i < 16; i++) {
      const pair = bytes[from + 4 + i]!;
      out[to + i] = d * (pair & 15) + m;
      out[to + 16 + i] = d * (pair >> 4) + m;
    }
  }
};

/** `{f16 d; u32 high; u8 q[16]}`: d * (q - 16). */
export const decodeQ5_0: RowDecoder = (bytes, from, blocks, out, to) => {
  const half = halfTable();
  for (let block = 0; block < blocks; block++, from += 22, to += 32) {
    const d = half[bytes[from]! | (bytes[from + 1]! << 8)]!;
    const lowBits = bytes[from + 2]! | (bytes[from + 3]! << 8);
    const highBits = bytes[from + 4]! | (bytes[from + 5]! << 8);
    for (let i = 0; i < 16; i++) {
      const pair = bytes[from + 6 + i]!;
      out[to + i] = d * (((pair & 15) | (((lowBits >> i) & 1) << 4)) - 16);
      out[to + 16 + i] = d * (((pair >> 4) | (((highBits >> i) & 1) << 4)) - 16);
    }
  }
};

/** `{f16 d; f16 m; u32 high; u8 q[16]}`: d * q + m. */
export const decodeQ5_1: RowDecoder = (bytes, from, blocks, out, to) => {
  const half = halfTable();
  for (let block = 0; block < blocks; block++, from += 24, to += 32) {
    const d = half[bytes[from]! | (bytes[from + 1]! << 8)]!;
    const m = half[bytes[from + 2]! | (bytes[from + 3]! << 8)]!;
    const lowBits = bytes[from + 4]! | (bytes[from + 5]! << 8);
    const highBits = bytes[from + 6]! | (bytes[from + 7]! << 8);
    for (let i = 0; i < 16; i++) {
      const pair = bytes[from + 8 + i]!;
      out[to + i] = d * ((pair & 15) | (((lowBits >> i) & 1) << 4)) + m;
      out[to + 16 + i] = d * ((pair >> 4) | (((highBits >> i) & 1) << 4)) + m;
    }
  }
};

/** `{f16 d; i8 q[32]}`: d * q. */
export const decodeQ8_0: RowDecoder = (bytes, from, blocks, out, to) => {
  const half = halfTable();
  for (let block = 0; block < blocks; block++, from += 34, to += 32) {
    const d = half[bytes[from]! | (bytes[from + 1]! << 8)]!;
    for (let i = 0; i < 32; i++) out[to + i] = d * ((bytes[from + 2 + i]! << 24) >> 24);
  }
};
