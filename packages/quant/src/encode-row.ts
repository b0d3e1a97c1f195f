/**
 * f32 to packed rows, byte for byte as the PyPI package `gguf` (ggml's reference quantizers) makes them. Every operation is
 * rounded to f32 (`Math.fround`), as it is there. The encoders of the K formats are our own (`encode-k-block.ts`). The IQ
 * formats have none: their encoders search, and no result of a search is the right one.
 */
import {
  type DType,
  dtypeLayout,
  floatBitsToBfloat,
  floatBitsToHalf,
  floatToHalf,
  rowBytes,
  UnicornError,
} from '@unicorn-exec/tensor';
import { beyond, put16 } from './block-scale.js';
import { encodeQ4K, encodeQ6K } from './encode-k-block.js';

/** Encodes `count` elements (blocks: `count` blocks) of `values` into `out` from byte `to` on. */
type RowEncoder = (values: Float32Array, count: number, out: Uint8Array, to: number) => void;

const { fround, trunc, abs, floor } = Math;

const f32: RowEncoder = (values, count, out, to) => {
  out.set(new Uint8Array(values.buffer, values.byteOffset, 4 * count), to);
};

const f16: RowEncoder = (values, count, out, to) => {
  const bits = new Uint32Array(values.buffer, values.byteOffset, count);
  for (let i = 0; i < count; i++) {
    const half = floatBitsToHalf(bits[i]!);
    if ((half & 0x7fff) === 0x7c00 && Number.isFinite(values[i])) throw beyond('f16', values[i]!, i);
    put16(out, to + 2 * i, half);
  }
};

const bf16: RowEncoder = (values, count, out, to) => {
  const bits = new Uint32Array(values.buffer, values.byteOffset, count);
  for (let i = 0; i < count; i++) {
    const pattern = floatBitsToBfloat(bits[i]!);
    if ((pattern & 0x7fff) === 0x7f80 && Number.isFinite(values[i])) throw beyond('bf16', values[i]!, i);
    put16(out, to + 2 * i, pattern);
  }
};

/** Scale from the element of largest magnitude, which maps to the end of the range that has one step more. */
function signedEncoder(dtype: 'q4_0' | 'q5_0'): RowEncoder {
  const half = dtype === 'q4_0' ? 8 : 16;
  const blockBytes = dtypeLayout(dtype).blockBytes;
  const quants = new Uint8Array(32);
  return (values, blocks, out, to) => {
    for (let block = 0; block < blocks; block++, to += blockBytes) {
      const x = values.subarray(32 * block, 32 * block + 32);
      const d = fround(extreme(x) / -half);
      const inverse = inverseOf(d);
      for (let i = 0; i < 32; i++) {
        quants[i] = clampQuant(fround(fround(x[i]! * inverse) + (half + 0.5)), 2 * half - 1);
      }
      put16(out, to, scaleBits(dtype, d, 32 * block));
      putQuants(quants, out, to + 2, half === 16);
    }
  };
}

/** Scale and minimum from the range of the block. */
function offsetEncoder(dtype: 'q4_1' | 'q5_1'): RowEncoder {
  const top = dtype === 'q4_1' ? 15 : 31;
  const blockBytes = dtypeLayout(dtype).blockBytes;
  const quants = new Uint8Array(32);
  return (values, blocks, out, to) => {
    for (let block = 0; block < blocks; block++, to += blockBytes) {
      const x = values.subarray(32 * block, 32 * block + 32);
      let min = x[0]!;
      let max = x[0]!;
      for (let i = 1; i < 32; i++) {
        if (x[i]! < min) min = x[i]!;
        if (x[i]! > max) max = x[i]!;
      }
      const d = fround(fround(max - min) / top);
      const inverse = inverseOf(d);
      for (let i = 0; i < 32; i++) {
        quants[i] = clampQuant(fround(fround(fround(x[i]! - min) * inverse) + 0.5), top);
      }
      put16(out, to, scaleBits(dtype, d, 32 * block));
      put16(out, to + 2, scaleBits(dtype, min, 32 * block));
      putQuants(quants, out, to + 4, top === 31);
    }
  };
}

const q8_0: RowEncoder = (values, blocks, out, to) => {
  for (let block = 0; block < blocks; block++, to += 34) {
    const x = values.subarray(32 * block, 32 * block + 32);
    const d = fround(abs(extreme(x)) / 127);
    const inverse = inverseOf(d);
    put16(out, to, scaleBits('q8_0', d, 32 * block));
    for (let i = 0; i < 32; i++) out[to + 2 + i] = roundAway(fround(x[i]! * inverse));
  }
};

/** Largest magnitude and -1, 0, 1 of it. */
function ternaryQuants(x: Float32Array, quants: Uint8Array): number {
  const d = abs(extreme(x));
  const inverse = inverseOf(d);
  for (let i = 0; i < x.length; i++) quants[i] = roundAway(fround(x[i]! * inverse)) + 1;
  return d;
}

const tq2_0: RowEncoder = (values, blocks, out, to) => {
  const quants = new Uint8Array(256);
  for (let block = 0; block < blocks; block++, to += 66) {
    const d = ternaryQuants(values.subarray(256 * block, 256 * block + 256), quants);
    for (let i = 0; i < 64; i++) {
      const q = 128 * (i >> 5) + (i & 31);
      out[to + i] = quants[q]! | (quants[q + 32]! << 2) | (quants[q + 64]! << 4) | (quants[q + 96]! << 6);
    }
    put16(out, to + 64, scaleBits('tq2_0', d, 256 * block));
  }
};

/** Runs of bytes and of digits per byte; the layout is told in the decoder. */
const tq1Runs = [
  { at: 0, bytes: 32, digits: 5, from: 0 },
  { at: 32, bytes: 16, digits: 5, from: 160 },
  { at: 48, bytes: 4, digits: 4, from: 240 },
] as const;

const tq1_0: RowEncoder = (values, blocks, out, to) => {
  const quants = new Uint8Array(256);
  for (let block = 0; block < blocks; block++, to += 54) {
    const d = ternaryQuants(values.subarray(256 * block, 256 * block + 256), quants);
    for (const { at, bytes, digits, from } of tq1Runs) {
      for (let i = 0; i < bytes; i++) {
        let number = 0;
        for (let digit = 0; digit < 5; digit++) {
          number = 3 * number + (digit < digits ? quants[from + bytes * digit + i]! : 0);
        }
        // The smallest byte whose fraction of 256 is at least number / 243 (3^5).
        out[to + at + i] = floor((number * 256 + 242) / 243);
      }
    }
    put16(out, to + 52, scaleBits('tq1_0', d, 256 * block));
  }
};

/** E2M1 values doubled, as the decoder has them. */
const doubledE2m1 = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

const mxfp4: RowEncoder = (values, blocks, out, to) => {
  const quants = new Uint8Array(32);
  for (let block = 0; block < blocks; block++, to += 17) {
    const x = values.subarray(32 * block, 32 * block + 32);
    const top = abs(extreme(x));
    // The largest element falls into [4, 8) scale steps, 2 being the exponent of the largest value, 6. An exponent
    // below the byte's range wraps there, and wraps here: all elements are then zero, whatever the scale.
    const exponent = top > 0 ? (floor(fround(Math.log2(top))) - 2 + 127) & 255 : 0;
    const d = 2 ** (exponent - 128);
    for (let i = 0; i < 32; i++) {
      let best = 0;
      let bestError = Infinity;
      for (let q = 0; q < 16; q++) {
        const error = abs(fround(fround(d * doubledE2m1[q]!) - x[i]!));
        if (error < bestError) {
          best = q;
          bestError = error;
        }
      }
      quants[i] = best;
    }
    out[to] = exponent;
    putQuants(quants, out, to + 1, false);
  }
};

/** The first element of largest magnitude, sign and all. */
function extreme(x: Float32Array): number {
  let best = x[0]!;
  for (let i = 1; i < x.length; i++) if (abs(x[i]!) > abs(best)) best = x[i]!;
  return best;
}

/** 1 / d in f32, 0 for 0. For the smallest subnormals it is infinite, as in the reference. */
function inverseOf(d: number): number {
  return d === 0 ? 0 : fround(1 / d);
}

/** Truncates and clamps to 0 .. top; what is not finite becomes 0, as the conversion to a byte in the reference has it. */
function clampQuant(value: number, top: number): number {
  return Math.min((trunc(value) | 0) & 255, top);
}

/** Rounds half away from zero; what is not finite becomes 0. */
function roundAway(value: number): number {
  const magnitude = abs(value);
  const whole = floor(magnitude);
  return (Math.sign(value) * (whole + floor(2 * (magnitude - whole)))) | 0;
}

/** Half patterns of a scale. @throws UnicornError `usage/not-encodable` when it would become infinite. */
function scaleBits(dtype: DType, scale: number, index: number): number {
  const half = floatToHalf(scale);
  if ((half & 0x7c00) === 0x7c00) throw beyond(dtype, scale, index);
  return half;
}

/** 32 quants as nibble pairs (i, i + 16), after their fifth bits if there are any. */
function putQuants(quants: Uint8Array, out: Uint8Array, to: number, fifthBits: boolean): void {
  if (fifthBits) {
    for (let byte = 0; byte < 4; byte++, to++) {
      let bits = 0;
      for (let i = 0; i < 8; i++) bits |= (quants[8 * byte + i]! >> 4) << i;
      out[to] = bits;
    }
  }
  for (let i = 0; i < 16; i++) out[to + i] = (quants[i]! & 15) | (quants[i + 16]! << 4);
}

const encoders: Partial<Record<DType, RowEncoder>> = {
  f32,
  f16,
  bf16,
  q8_0,
  q4_0: signedEncoder('q4_0'),
  q4_1: offsetEncoder('q4_1'),
  q5_0: signedEncoder('q5_0'),
  q5_1: offsetEncoder('q5_1'),
  tq1_0,
  tq2_0,
  mxfp4,
  q4_k: encodeQ4K,
  q6_k: encodeQ6K,
};

/** The dtypes that {@link encodeRow} makes. */
export const encodableDTypes: readonly DType[] = Object.keys(encoders) as DType[];

/**
 * Encodes all of `values` as one row (or several rows of whole blocks) of `dtype` into `out` from byte `outOffset` on.
 *
 * @throws UnicornError `unsupported/encoder` for a dtype without encoder; `usage/not-encodable` when block formats are
 *   given NaN or infinity, or a value (or its scale) would overflow to infinity; `usage/range` when `out` is too short;
 *   `format/block-size` when `values` is not whole blocks.
 */
export function encodeRow(dtype: DType, values: Float32Array, out: Uint8Array, outOffset = 0): void {
  const encode = encoders[dtype];
  if (encode === undefined) {
    throw new UnicornError('unsupported/encoder', `There is no encoder for ${dtype}.`, {
      fields: { dtype },
      fix: `Encode to one of ${encodableDTypes.join(', ')}.`,
    });
  }
  const byteLength = rowBytes(dtype, values.length);
  if (!(Number.isInteger(outOffset) && outOffset >= 0 && outOffset + byteLength <= out.length)) {
    throw new UnicornError(
      'usage/range',
      `${values.length} ${dtype} elements take ${byteLength} bytes, which do not fit at byte ${outOffset} of ${out.length}.`,
      {
        fields: { dtype, byteLength, outOffset, outLength: out.length },
        fix: 'Give a longer `out`, or a smaller `outOffset`.',
      },
    );
  }
  const { blockSize } = dtypeLayout(dtype);
  if (blockSize > 1) {
    const index = values.findIndex((value) => !Number.isFinite(value));
    if (index >= 0) throw beyond(dtype, values[index]!, index);
  }
  encode(values, values.length / blockSize, out, outOffset);
}

/** {@link encodeRow} into a buffer of its own. */
export function encodeTensor(dtype: DType, values: Float32Array): Uint8Array {
  const out = new Uint8Array(rowBytes(dtype, values.length));
  encodeRow(dtype, values, out);
  return out;
}
