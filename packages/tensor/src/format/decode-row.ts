/** Decodes rows of any dtype to f32, and checks ranges for all formats. The formats themselves are in the files beside. */
import { type BlockDType, type DType, dtypeLayout } from '../dtype.js';
import { UnicornError } from '../error.js';
import { decodeMxfp4, decodeNvfp4 } from './fp4-block.js';
import {
  decodeIq1M,
  decodeIq1S,
  decodeIq2S,
  decodeIq2Xs,
  decodeIq2Xxs,
  decodeIq3S,
  decodeIq3Xxs,
  decodeIq4Nl,
  decodeIq4Xs,
} from './iq-block.js';
import { decodeQ2K, decodeQ3K, decodeQ4K, decodeQ5K, decodeQ6K } from './k-block.js';
import { decodeQ4_0, decodeQ4_1, decodeQ5_0, decodeQ5_1, decodeQ8_0 } from './legacy-block.js';
import type { RowDecoder } from './row-decoder.js';
import { scalarRowDecoders } from './scalar-row.js';
import { decodeTq1_0, decodeTq2_0 } from './ternary-block.js';

const blockDecoders: Record<BlockDType, RowDecoder> = {
  q4_0: decodeQ4_0,
  q4_1: decodeQ4_1,
  q5_0: decodeQ5_0,
  q5_1: decodeQ5_1,
  q8_0: decodeQ8_0,
  q2_k: decodeQ2K,
  q3_k: decodeQ3K,
  q4_k: decodeQ4K,
  q5_k: decodeQ5K,
  q6_k: decodeQ6K,
  iq1_s: decodeIq1S,
  iq1_m: decodeIq1M,
  iq2_xxs: decodeIq2Xxs,
  iq2_xs: decodeIq2Xs,
  iq2_s: decodeIq2S,
  iq3_xxs: decodeIq3Xxs,
  iq3_s: decodeIq3S,
  iq4_nl: decodeIq4Nl,
  iq4_xs: decodeIq4Xs,
  tq1_0: decodeTq1_0,
  tq2_0: decodeTq2_0,
  mxfp4: decodeMxfp4,
  nvfp4: decodeNvfp4,
};

const decoders: Record<DType, RowDecoder> = { ...scalarRowDecoders, ...blockDecoders };

/**
 * Decodes `count` consecutive elements of one row to f32: exact where f32 can hold the value, rounded to nearest even
 * where it cannot (f64 and wide integers). Block formats follow the `gguf` package (ggml) bit for bit; bool is 0 or 1.
 * Allocates nothing per element. Rows of a dense block tensor lie back to back, so several may be decoded at once.
 *
 * @param bytes packed elements, little endian, at any alignment
 * @param byteOffset where the first element's block starts in `bytes`
 * @param count elements; a multiple of the block size
 * @param out receives `count` values from index `outOffset` (default 0) on
 * @throws UnicornError `usage/range` when count is not a multiple of the block size, or a range does not fit.
 */
export function decodeRow(
  dtype: DType,
  bytes: Uint8Array,
  byteOffset: number,
  count: number,
  out: Float32Array,
  outOffset = 0,
): void {
  const { blockSize, blockBytes } = dtypeLayout(dtype);
  const blocks = count / blockSize;
  // Negated comparisons, so that NaN is refused too.
  if (
    !(Number.isInteger(blocks) && blocks >= 0) ||
    !(Number.isInteger(byteOffset) && byteOffset >= 0 && byteOffset + blocks * blockBytes <= bytes.length) ||
    !(Number.isInteger(outOffset) && outOffset >= 0 && outOffset + count <= out.length)
  ) {
    throw new UnicornError(
      'usage/range',
      `Cannot decode ${count} ${dtype} elements (blocks of ${blockSize} in ${blockBytes} bytes) from byte ` +
        `${byteOffset} of ${bytes.length} to element ${outOffset} of ${out.length}.`,
      { fields: { dtype, count, byteOffset, byteLength: bytes.length, outOffset, outLength: out.length } },
    );
  }
  decoders[dtype](bytes, byteOffset, blocks, out, outOffset);
}
