/** Ternary super-blocks of 256 elements in {-1, 0, 1} with one f16 scale. */
import { halfTable } from './half-float.js';
import type { RowDecoder } from './row-decoder.js';

const powersOfThree = [1, 3, 9, 27, 81];

/**
 * `{u8 q[48]: five digits each; u8 tail[4]: four digits each; f16 d}`.
 * A byte is the fixed-point fraction ceil(256 * n / 243) of its base-3 number n: multiplying by 3^k modulo 256 shifts
 * k digits out, and the next digit is the integer part of three times what is left. Runs: 32 bytes give 5 x 32
 * elements, 16 give 5 x 16, the tail 4 x 4.
 */
export const decodeTq1_0: RowDecoder = (bytes, from, blocks, out, to) => {
  const half = halfTable();
  for (let block = 0; block < blocks; block++, from += 54, to += 256) {
    const d = half[bytes[from + 52]! | (bytes[from + 53]! << 8)]!;
    decodeDigits(bytes, from, 32, 5, d, out, to);
    decodeDigits(bytes, from + 32, 16, 5, d, out, to + 160);
    decodeDigits(bytes, from + 48, 4, 4, d, out, to + 240);
  }
};

function decodeDigits(
  bytes: Uint8Array,
  from: number,
  run: number,
  digits: number,
  d: number,
  out: Float32Array,
  to: number,
): void {
  for (let digit = 0; digit < digits; digit++, to += run) {
    const power = powersOfThree[digit]!;
    for (let i = 0; i < run; i++) {
      out[to + i] = d * (((((bytes[from + i]! * power) & 255) * 3) >> 8) - 1);
    }
  }
}

/** `{u8 q[64]: 2 bits, four planes over each run of 32 bytes; f16 d}`: d * (q - 1). */
export const decodeTq2_0: RowDecoder = (bytes, from, blocks, out, to) => {
  const half = halfTable();
  for (let block = 0; block < blocks; block++, from += 66) {
    const d = half[bytes[from + 64]! | (bytes[from + 65]! << 8)]!;
    for (let run = 0; run < 64; run += 32) {
      for (let shift = 0; shift < 8; shift += 2, to += 32) {
        for (let i = 0; i < 32; i++) out[to + i] = d * (((bytes[from + run + i]! >> shift) & 3) - 1);
      }
    }
  }
};
