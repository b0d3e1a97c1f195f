/**
 * K quants: super-blocks of 256 elements, cut into groups of 16 or 32 that each have a small integer scale (and, in
 * the types with a minimum, a small integer offset) under one f16 scale for the whole.
 *
 * Bit planes are strided: a run of 32 bytes holds 32 elements in its lowest bits, the next 32 in the bits above, and
 * so on. Exactness: f16 (11 bits) x scale (at most 8 signed) x value (at most 6 signed) has at most 24 significant bits, so
 * products are exact and only the subtraction of a minimum rounds, once, on the store.
 */
import { halfTable } from './half-float.js';
import type { RowDecoder } from './row-decoder.js';

/** `{u8 scales[16]: scale | min << 4; u8 q[64]: 2 bits; f16 d; f16 dmin}`: d * scale * q - dmin * min, groups of 16. */
export const decodeQ2K: RowDecoder = (bytes, from, blocks, out, to) => {
  const half = halfTable();
  for (let block = 0; block < blocks; block++, from += 84) {
    const d = half[bytes[from + 80]! | (bytes[from + 81]! << 8)]!;
    const dmin = half[bytes[from + 82]! | (bytes[from + 83]! << 8)]!;
    for (let group = 0; group < 16; group++, to += 16) {
      const packed = bytes[from + group]!;
      const scale = d * (packed & 15);
      const min = dmin * (packed >> 4);
      const q = from + 16 + 32 * (group >> 3) + 16 * (group & 1);
      const shift = group & 6;
      for (let i = 0; i < 16; i++) out[to + i] = scale * ((bytes[q + i]! >> shift) & 3) - min;
    }
  }
};

/**
 * `{u8 high[32]: bit n of byte i is for element 32n + i; u8 q[64]: 2 bits; u8 scales[12]: 6 bits; f16 d}`:
 * d * (scale - 32) * (q - (high ? 0 : 4)), groups of 16.
 */
export const decodeQ3K: RowDecoder = (bytes, from, blocks, out, to) => {
  const half = halfTable();
  for (let block = 0; block < blocks; block++, from += 110) {
    const d = half[bytes[from + 108]! | (bytes[from + 109]! << 8)]!;
    const scales = from + 96;
    for (let group = 0; group < 16; group++, to += 16) {
      // Low nibbles: bytes 0..7 hold groups 0..7, then 8..15 in their upper half. High pairs: byte 8 + group % 4.
      const low = (bytes[scales + (group & 7)]! >> (group < 8 ? 0 : 4)) & 15;
      const high = (bytes[scales + 8 + (group & 3)]! >> (2 * (group >> 2))) & 3;
      const scale = d * ((low | (high << 4)) - 32);
      const q = from + 32 + 32 * (group >> 3) + 16 * (group & 1);
      const mask = from + 16 * (group & 1);
      const shift = group & 6;
      const plane = group >> 1;
      for (let i = 0; i < 16; i++) {
        out[to + i] = scale * (((bytes[q + i]! >> shift) & 3) - 4 + (((bytes[mask + i]! >> plane) & 1) << 2));
      }
    }
  }
};

/**
 * Eight 6-bit scales and eight 6-bit minimums in 12 bytes: bytes 0..3 and 4..7 hold scale and minimum of groups 0..3,
 * with the two upper bits of groups 4..7 above them; bytes 8..11 the low nibbles of groups 4..7 (scale, then minimum).
 */
function sixBitScale(bytes: Uint8Array, scales: number, group: number): number {
  return group < 4
    ? bytes[scales + group]! & 63
    : (bytes[scales + 4 + group]! & 15) | ((bytes[scales + group - 4]! >> 2) & 48);
}

function sixBitMin(bytes: Uint8Array, scales: number, group: number): number {
  return group < 4
    ? bytes[scales + 4 + group]! & 63
    : (bytes[scales + 4 + group]! >> 4) | ((bytes[scales + group]! >> 2) & 48);
}

/** `{f16 d; f16 dmin; u8 scales[12]; u8 q[128]: 4 bits}`: d * scale * q - dmin * min, groups of 32. */
export const decodeQ4K: RowDecoder = (bytes, from, blocks, out, to) => {
  const half = halfTable();
  for (let block = 0; block < blocks; block++, from += 144) {
    const d = half[bytes[from]! | (bytes[from + 1]! << 8)]!;
    const dmin = half[bytes[from + 2]! | (bytes[from + 3]! << 8)]!;
    for (let group = 0; group < 8; group += 2, to += 64) {
      const lowScale = d * sixBitScale(bytes, from + 4, group);
      const lowMin = dmin * sixBitMin(bytes, from + 4, group);
      const highScale = d * sixBitScale(bytes, from + 4, group + 1);
      const highMin = dmin * sixBitMin(bytes, from + 4, group + 1);
      const q = from + 16 + 16 * group;
      for (let i = 0; i < 32; i++) {
        const pair = bytes[q + i]!;
        out[to + i] = lowScale * (pair & 15) - lowMin;
        out[to + 32 + i] = highScale * (pair >> 4) - highMin;
      }
    }
  }
};

/** `{f16 d; f16 dmin; u8 scales[12]; u8 high[32]; u8 q[128]: 4 bits}`: as q4_k with a fifth bit, groups of 32. */
export const decodeQ5K: RowDecoder = (bytes, from, blocks, out, to) => {
  const half = halfTable();
  for (let block = 0; block < blocks; block++, from += 176) {
    const d = half[bytes[from]! | (bytes[from + 1]! << 8)]!;
    const dmin = half[bytes[from + 2]! | (bytes[from + 3]! << 8)]!;
    const high = from + 16;
    for (let group = 0; group < 8; group += 2, to += 64) {
      const lowScale = d * sixBitScale(bytes, from + 4, group);
      const lowMin = dmin * sixBitMin(bytes, from + 4, group);
      const highScale = d * sixBitScale(bytes, from + 4, group + 1);
      const highMin = dmin * sixBitMin(bytes, from + 4, group + 1);
      const q = from + 48 + 16 * group;
      for (let i = 0; i < 32; i++) {
        const pair = bytes[q + i]!;
        const fifth = bytes[high + i]! >> group;
        out[to + i] = lowScale * ((pair & 15) | ((fifth & 1) << 4)) - lowMin;
        out[to + 32 + i] = highScale * ((pair >> 4) | ((fifth & 2) << 3)) - highMin;
      }
    }
  }
};

/**
 * `{u8 low[128]: 4 bits; u8 high[64]: 2 bits; i8 scales[16]; f16 d}`: d * scale * (q - 32), scales for groups of 16.
 * Each half of 128 elements takes 64 low and 32 high bytes: four runs of 32.
 */
export const decodeQ6K: RowDecoder = (bytes, from, blocks, out, to) => {
  const half = halfTable();
  for (let block = 0; block < blocks; block++, from += 210) {
    const d = half[bytes[from + 208]! | (bytes[from + 209]! << 8)]!;
    for (let part = 0; part < 2; part++, to += 128) {
      for (let side = 0; side < 2; side++) {
        const low = from + 64 * part + 16 * side;
        const high = from + 128 + 32 * part + 16 * side;
        const scales = from + 192 + 8 * part + side;
        const scale0 = d * ((bytes[scales]! << 24) >> 24);
        const scale1 = d * ((bytes[scales + 2]! << 24) >> 24);
        const scale2 = d * ((bytes[scales + 4]! << 24) >> 24);
        const scale3 = d * ((bytes[scales + 6]! << 24) >> 24);
        const run = to + 16 * side;
        for (let i = 0; i < 16; i++) {
          const a = bytes[low + i]!;
          const b = bytes[low + 32 + i]!;
          const h = bytes[high + i]!;
          out[run + i] = scale0 * (((a & 15) | ((h & 3) << 4)) - 32);
          out[run + 32 + i] = scale1 * (((b & 15) | ((h & 12) << 2)) - 32);
          out[run + 64 + i] = scale2 * (((a >> 4) | (h & 48)) - 32);
          out[run + 96 + i] = scale3 * (((b >> 4) | ((h & 192) >> 2)) - 32);
        }
      }
    }
  }
};
