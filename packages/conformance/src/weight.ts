/**
 * Random weights of every dtype: all packed bits are random, but the scales are chosen so that a row has about unit
 * norm. Without that, random bytes are mostly NaN or overflow, and a comparison would say nothing.
 */
import {
  decodeRow,
  dtypeLayout,
  floatToBfloat,
  floatToHalf,
  isBlockDType,
  rowBytes,
  UnicornError,
  type BlockDType,
  type DType,
} from '@unicorn-exec/tensor';
import { Random } from './random.js';

/** Where a block keeps its scales. */
type ScaleField =
  /**
   * One f16 at byte `scale`, of any sign; an affine format has a second one at `offset`, `ratio` times as large, so
   * that the offset is about the mean of what it shifts (GGUF block layouts).
   */
  | {
      readonly kind: 'half';
      readonly scale: number;
      readonly offset?: { readonly at: number; readonly ratio: number };
    }
  /** iq1_m: the nibbles of one f16 are the top nibbles of four u16 at byte 48. */
  | { readonly kind: 'spread'; readonly at: number }
  /** mxfp4: a power of two, biased by 127. */
  | { readonly kind: 'exponent'; readonly at: number }
  /** nvfp4: four E4M3 numbers without sign. */
  | { readonly kind: 'e4m3'; readonly count: number };

const scaleFields: Record<BlockDType, ScaleField> = {
  q4_0: { kind: 'half', scale: 0 },
  q4_1: { kind: 'half', scale: 0, offset: { at: 2, ratio: -7.5 } },
  q5_0: { kind: 'half', scale: 0 },
  q5_1: { kind: 'half', scale: 0, offset: { at: 2, ratio: -15.5 } },
  q8_0: { kind: 'half', scale: 0 },
  q2_k: { kind: 'half', scale: 80, offset: { at: 82, ratio: 1.5 } },
  q3_k: { kind: 'half', scale: 108 },
  q4_k: { kind: 'half', scale: 0, offset: { at: 2, ratio: 7.5 } },
  q5_k: { kind: 'half', scale: 0, offset: { at: 2, ratio: 15.5 } },
  q6_k: { kind: 'half', scale: 208 },
  iq1_s: { kind: 'half', scale: 0 },
  iq1_m: { kind: 'spread', at: 48 },
  iq2_xxs: { kind: 'half', scale: 0 },
  iq2_xs: { kind: 'half', scale: 0 },
  iq2_s: { kind: 'half', scale: 0 },
  iq3_xxs: { kind: 'half', scale: 0 },
  iq3_s: { kind: 'half', scale: 0 },
  iq4_nl: { kind: 'half', scale: 0 },
  iq4_xs: { kind: 'half', scale: 0 },
  tq1_0: { kind: 'half', scale: 52 },
  tq2_0: { kind: 'half', scale: 64 },
  mxfp4: { kind: 'exponent', at: 0 },
  nvfp4: { kind: 'e4m3', count: 4 },
};

/** Writes the scale of the block at `at`; `magnitude` is relative to a scale of one. */
function setScale(bytes: Uint8Array, at: number, field: ScaleField, magnitude: number, random: Random): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset + at);
  switch (field.kind) {
    case 'half':
      // Encoders write negative scales too where there is no offset: the element of largest magnitude gets an end.
      view.setUint16(
        field.scale,
        floatToHalf(field.offset || random.bits() & 1 ? magnitude : -magnitude),
        true,
      );
      if (field.offset) view.setUint16(field.offset.at, floatToHalf(magnitude * field.offset.ratio), true);
      return;
    case 'spread': {
      const half = floatToHalf(magnitude);
      for (let i = 0; i < 4; i++) {
        const byte = field.at + 1 + 2 * i;
        bytes[at + byte] = (bytes[at + byte]! & 15) | (((half >> (4 * i)) & 15) << 4);
      }
      return;
    }
    case 'exponent':
      bytes[at + field.at] = 127 + Math.round(Math.log2(magnitude));
      return;
    case 'e4m3':
      for (let i = 0; i < field.count; i++) {
        // 8 steps an octave, 1.0 at pattern 0x38.
        const pattern = Math.round(8 * Math.log2(magnitude)) + 0x38 + random.integer(8);
        bytes[at + i] = Math.min(0x7e, Math.max(1, pattern));
      }
      return;
  }
}

function randomBlocks(dtype: BlockDType, rows: number, columns: number, random: Random): Uint8Array {
  const { blockSize, blockBytes } = dtypeLayout(dtype);
  const bytes = random.bytes(rows * rowBytes(dtype, columns));
  const field = scaleFields[dtype];
  // The root mean square under a scale of one, over up to 16 blocks.
  const sample = bytes.slice(0, Math.min(bytes.length, 16 * blockBytes));
  const blocks = sample.length / blockBytes;
  for (let block = 0; block < blocks; block++) setScale(sample, block * blockBytes, field, 1, random);
  const decoded = new Float32Array(blocks * blockSize);
  decodeRow(dtype, sample, 0, decoded.length, decoded);
  const norm = Math.sqrt(decoded.reduce((sum, value) => sum + value * value, 0) / decoded.length);
  for (let at = 0; at < bytes.length; at += blockBytes) {
    setScale(bytes, at, field, (0.5 + random.uniform()) / (norm * Math.sqrt(columns)), random);
  }
  return bytes;
}

/**
 * Bytes of a random weight `[rows, columns]`, deterministic in its arguments. Rows have about unit norm, so a product
 * with a standard normal vector is about standard normal.
 *
 * @throws UnicornError `unsupported/dtype` for integer and f64 weights, which no checkpoint has
 */
export function randomWeight(dtype: DType, rows: number, columns: number, seed: string): Uint8Array {
  const random = new Random(`${seed} ${dtype} ${rows}x${columns}`);
  if (isBlockDType(dtype)) return randomBlocks(dtype, rows, columns, random);
  const deviation = 1 / Math.sqrt(columns);
  const count = rows * columns;
  switch (dtype) {
    case 'f32':
      return new Uint8Array(Float32Array.from({ length: count }, () => random.normal() * deviation).buffer);
    case 'f16':
      return new Uint8Array(
        Uint16Array.from({ length: count }, () => floatToHalf(random.normal() * deviation)).buffer,
      );
    case 'bf16':
      return new Uint8Array(
        Uint16Array.from({ length: count }, () => floatToBfloat(random.normal() * deviation)).buffer,
      );
    default:
      throw new UnicornError('unsupported/dtype', `The suite makes no weights of ${dtype}.`, {
        fields: { dtype },
      });
  }
}
