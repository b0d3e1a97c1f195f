/**
 * IQ formats: super-blocks of 256 elements (iq4_nl: blocks of 32) whose bits choose points of a fixed codebook
 * (`iq-grid.ts`) or of a non-linear table, with signs kept apart.
 *
 * Exactness: f16 (11 bits) x scale (at most 6) x grid value (at most 6) has at most 23 significant bits.
 */
import { halfTable } from './half-float.js';
import { iq1Grid, iq2sGrid, iq2xsGrid, iq2xxsGrid, iq3sGrid, iq3xxsGrid, paritySigns } from './iq-grid.js';
import type { RowDecoder } from './row-decoder.js';

/** The sixteen values of the 4-bit types: dense near zero, as weights are. */
const nonLinear = Float32Array.of(-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113);

/** `{f16 d; u8 q[16]}`: nibbles as in q4_0, looked up. */
export const decodeIq4Nl: RowDecoder = (bytes, from, blocks, out, to) => {
  const half = halfTable();
  for (let block = 0; block < blocks; block++, from += 18, to += 32) {
    const d = half[bytes[from]! | (bytes[from + 1]! << 8)]!;
    for (let i = 0; i < 16; i++) {
      const pair = bytes[from + 2 + i]!;
      out[to + i] = d * nonLinear[pair & 15]!;
      out[to + 16 + i] = d * nonLinear[pair >> 4]!;
    }
  }
};

/** `{f16 d; u16 scalesHigh: 2 bits each; u8 scalesLow[4]: 4 bits each; u8 q[128]}`: groups of 32, scale - 32. */
export const decodeIq4Xs: RowDecoder = (bytes, from, blocks, out, to) => {
  const half = halfTable();
  for (let block = 0; block < blocks; block++, from += 136) {
    const d = half[bytes[from]! | (bytes[from + 1]! << 8)]!;
    const scalesHigh = bytes[from + 2]! | (bytes[from + 3]! << 8);
    for (let group = 0; group < 8; group++, to += 32) {
      const low = (bytes[from + 4 + (group >> 1)]! >> (4 * (group & 1))) & 15;
      const scale = d * ((low | (((scalesHigh >> (2 * group)) & 3) << 4)) - 32);
      const q = from + 8 + 16 * group;
      for (let i = 0; i < 16; i++) {
        const pair = bytes[q + i]!;
        out[to + i] = scale * nonLinear[pair & 15]!;
        out[to + 16 + i] = scale * nonLinear[pair >> 4]!;
      }
    }
  }
};

/** Eight grid values times `scale`, negated where the bit of `signs` is set. */
function putEight(
  grid: Float32Array,
  point: number,
  signs: number,
  scale: number,
  out: Float32Array,
  to: number,
): void {
  for (let i = 0; i < 8; i++) {
    const value = scale * grid[8 * point + i]!;
    out[to + i] = (signs >> i) & 1 ? -value : value;
  }
}

/** `{f16 d; 8 x {u8 point[4]; u32: four 7-bit sign sets, 4-bit scale on top}}`: d * (scale + 1/2) / 4. */
export const decodeIq2Xxs: RowDecoder = (bytes, from, blocks, out, to) => {
  const half = halfTable();
  const grid = iq2xxsGrid();
  for (let block = 0; block < blocks; block++, from += 66) {
    const d = half[bytes[from]! | (bytes[from + 1]! << 8)]!;
    for (let group = 0; group < 8; group++) {
      const at = from + 2 + 8 * group;
      const word = readU32(bytes, at + 4);
      const scale = d * (0.5 + (word >>> 28)) * 0.25;
      for (let i = 0; i < 4; i++, to += 8) {
        putEight(grid, bytes[at + i]!, paritySigns[(word >>> (7 * i)) & 127]!, scale, out, to);
      }
    }
  }
};

/** `{f16 d; u16 q[32]: 9-bit point, 7-bit sign set; u8 scales[8]: 4 bits for each 16 elements}`. */
export const decodeIq2Xs: RowDecoder = (bytes, from, blocks, out, to) => {
  const half = halfTable();
  const grid = iq2xsGrid();
  for (let block = 0; block < blocks; block++, from += 74) {
    const d = half[bytes[from]! | (bytes[from + 1]! << 8)]!;
    for (let i = 0; i < 32; i++, to += 8) {
      const q = bytes[from + 2 + 2 * i]! | (bytes[from + 3 + 2 * i]! << 8);
      const scale = d * (0.5 + nibble(bytes, from + 66, i >> 1)) * 0.25;
      putEight(grid, q & 511, paritySigns[q >> 9]!, scale, out, to);
    }
  }
};

/** `{f16 d; u8 point[32]; u8 signs[32]; u8 pointHigh[8]: 2 bits each; u8 scales[8]: 4 bits for each 16 elements}`. */
export const decodeIq2S: RowDecoder = (bytes, from, blocks, out, to) => {
  const half = halfTable();
  const grid = iq2sGrid();
  for (let block = 0; block < blocks; block++, from += 82) {
    const d = half[bytes[from]! | (bytes[from + 1]! << 8)]!;
    for (let i = 0; i < 32; i++, to += 8) {
      const high = (bytes[from + 66 + (i >> 2)]! >> (2 * (i & 3))) & 3;
      const scale = d * (0.5 + nibble(bytes, from + 74, i >> 1)) * 0.25;
      putEight(grid, bytes[from + 2 + i]! | (high << 8), bytes[from + 34 + i]!, scale, out, to);
    }
  }
};

/** As {@link putEight} for the grids of four: two points. */
function putFourTwice(
  grid: Float32Array,
  first: number,
  second: number,
  signs: number,
  scale: number,
  out: Float32Array,
  to: number,
): void {
  for (let i = 0; i < 4; i++) {
    const a = scale * grid[4 * first + i]!;
    const b = scale * grid[4 * second + i]!;
    out[to + i] = (signs >> i) & 1 ? -a : a;
    out[to + 4 + i] = (signs >> (4 + i)) & 1 ? -b : b;
  }
}

/** `{f16 d; u8 point[64]; u32[8]: four 7-bit sign sets, 4-bit scale on top}`: d * (scale + 1/2) / 2, groups of 32. */
export const decodeIq3Xxs: RowDecoder = (bytes, from, blocks, out, to) => {
  const half = halfTable();
  const grid = iq3xxsGrid();
  for (let block = 0; block < blocks; block++, from += 98) {
    const d = half[bytes[from]! | (bytes[from + 1]! << 8)]!;
    for (let group = 0; group < 8; group++) {
      const word = readU32(bytes, from + 66 + 4 * group);
      const scale = d * (0.5 + (word >>> 28)) * 0.5;
      for (let i = 0; i < 4; i++, to += 8) {
        const at = from + 2 + 8 * group + 2 * i;
        const signs = paritySigns[(word >>> (7 * i)) & 127]!;
        putFourTwice(grid, bytes[at]!, bytes[at + 1]!, signs, scale, out, to);
      }
    }
  }
};

/**
 * `{f16 d; u8 point[64]; u8 pointHigh[8]: 1 bit each; u8 signs[32]; u8 scales[4]: 4 bits for each 32 elements}`:
 * d * (2 scale + 1).
 */
export const decodeIq3S: RowDecoder = (bytes, from, blocks, out, to) => {
  const half = halfTable();
  const grid = iq3sGrid();
  for (let block = 0; block < blocks; block++, from += 110) {
    const d = half[bytes[from]! | (bytes[from + 1]! << 8)]!;
    for (let i = 0; i < 32; i++, to += 8) {
      const high = bytes[from + 66 + (i >> 2)]! >> (2 * (i & 3));
      const first = bytes[from + 2 + 2 * i]! | ((high & 1) << 8);
      const second = bytes[from + 3 + 2 * i]! | ((high & 2) << 7);
      const scale = d * (1 + 2 * nibble(bytes, from + 106, i >> 2));
      putFourTwice(grid, first, second, bytes[from + 74 + i]!, scale, out, to);
    }
  }
};

/** The 1-bit types shift a whole grid point, whose values are -1, 0 and 1, by plus or minus this. */
const iq1Delta = 0.125;

/** Eight grid values, shifted and scaled. */
function putShifted(
  grid: Float32Array,
  point: number,
  delta: number,
  scale: number,
  out: Float32Array,
  to: number,
): void {
  for (let i = 0; i < 8; i++) out[to + i] = scale * (grid[8 * point + i]! + delta);
}

/**
 * `{f16 d; u8 point[32]; u16 high[8]: four 3-bit point extensions, 3-bit scale, sign of the shift}`:
 * d * (2 scale + 1), groups of 32.
 */
export const decodeIq1S: RowDecoder = (bytes, from, blocks, out, to) => {
  const half = halfTable();
  const grid = iq1Grid();
  for (let block = 0; block < blocks; block++, from += 50) {
    const d = half[bytes[from]! | (bytes[from + 1]! << 8)]!;
    for (let group = 0; group < 8; group++) {
      const high = bytes[from + 34 + 2 * group]! | (bytes[from + 35 + 2 * group]! << 8);
      const scale = d * (2 * ((high >> 12) & 7) + 1);
      const delta = high & 0x8000 ? -iq1Delta : iq1Delta;
      for (let i = 0; i < 4; i++, to += 8) {
        const point = bytes[from + 2 + 4 * group + i]! | (((high >> (3 * i)) & 7) << 8);
        putShifted(grid, point, delta, scale, out, to);
      }
    }
  }
};

/**
 * `{u8 point[32]; u8 high[16]: nibbles of a 3-bit point extension and the sign of the shift; u16 scales[4]: four
 * 3-bit scales each, and on top one nibble each of the f16 d}`: d * (2 scale + 1), groups of 16.
 */
export const decodeIq1M: RowDecoder = (bytes, from, blocks, out, to) => {
  const half = halfTable();
  const grid = iq1Grid();
  for (let block = 0; block < blocks; block++, from += 56) {
    let pattern = 0;
    for (let i = 0; i < 4; i++) pattern |= (bytes[from + 49 + 2 * i]! >> 4) << (4 * i);
    const d = half[pattern]!;
    for (let i = 0; i < 32; i++, to += 8) {
      const scales = bytes[from + 48 + 2 * (i >> 3)]! | (bytes[from + 49 + 2 * (i >> 3)]! << 8);
      const scale = d * (2 * ((scales >> (3 * ((i >> 1) & 3))) & 7) + 1);
      const high = nibble(bytes, from + 32, i);
      const point = bytes[from + i]! | ((high & 7) << 8);
      putShifted(grid, point, high & 8 ? -iq1Delta : iq1Delta, scale, out, to);
    }
  }
};

/** Nibble `index` of a run that starts at byte `from`, low nibble first. */
function nibble(bytes: Uint8Array, from: number, index: number): number {
  return (bytes[from + (index >> 1)]! >> (4 * (index & 1))) & 15;
}

function readU32(bytes: Uint8Array, at: number): number {
  return bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
}
