/**
 * Four-bit floats (E2M1: sign, two exponent bits, one fraction bit) under an eight-bit float scale:
 * MXFP4 (OCP Microscaling, a power of two for 32 elements) and NVFP4 (E4M3 for each 16 of 64 elements).
 */
import type { RowDecoder } from './row-decoder.js';

/** E2M1 values doubled, so that they are integers; the scales below are halved to match. Pattern 8 is +0 as in ggml. */
const doubled = Float32Array.of(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12);

/** E8M0, halved: 2^(e - 127) / 2. */
const e8m0Half = Float32Array.from({ length: 256 }, (_, e) => 2 ** (e - 128));

/**
 * E4M3 without sign, halved: 2^(e - 7) * (1 + m / 8), subnormals m * 2^-9. The top bit is ignored; 0x7f, the only
 * NaN of the type, decodes to zero.
 */
const ue4m3Half = Float32Array.from({ length: 256 }, (_, pattern) => {
  if (pattern === 0x7f) return 0;
  const exponent = (pattern >> 3) & 15;
  const fraction = pattern & 7;
  return 0.5 * (exponent === 0 ? fraction * 2 ** -9 : (1 + fraction / 8) * 2 ** (exponent - 7));
});

/** `{e8m0 d; u8 q[16]}`: nibbles as in q4_0. */
export const decodeMxfp4: RowDecoder = (bytes, from, blocks, out, to) => {
  for (let block = 0; block < blocks; block++, from += 17, to += 32) {
    const d = e8m0Half[bytes[from]!]!;
    for (let i = 0; i < 16; i++) {
      const pair = bytes[from + 1 + i]!;
      out[to + i] = d * doubled[pair & 15]!;
      out[to + 16 + i] = d * doubled[pair >> 4]!;
    }
  }
};

/** `{ue4m3 d[4]; u8 q[32]}`: each eight bytes hold 16 elements, low nibbles first. */
export const decodeNvfp4: RowDecoder = (bytes, from, blocks, out, to) => {
  for (let block = 0; block < blocks; block++, from += 36) {
    for (let part = 0; part < 4; part++, to += 16) {
      const d = ue4m3Half[bytes[from + part]!]!;
      const q = from + 4 + 8 * part;
      for (let i = 0; i < 8; i++) {
        const pair = bytes[q + i]!;
        out[to + i] = d * doubled[pair & 15]!;
        out[to + 8 + i] = d * doubled[pair >> 4]!;
      }
    }
  }
};
