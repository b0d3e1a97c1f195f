/** Encoding of one KV-cache row: the scalar meaning that every backend's `kvWrite` must reproduce. */
import type { DType } from '../dtype.js';
import { UnicornError } from '../error.js';
import { floatToBfloat, floatToHalf } from './index.js';

/**
 * Writes `values` as one row of `dtype` (f32, f16, bf16 or q8_0) at `byteOffset`.
 *
 * q8_0 is ggml's: scale = max|x| / 127 stored as f16, quant = round half away from zero of x / (unrounded scale).
 */
export function encodeKvRow(dtype: DType, values: Float32Array, bytes: Uint8Array, byteOffset: number): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset + byteOffset);
  switch (dtype) {
    case 'f32':
      values.forEach((value, i) => view.setFloat32(4 * i, value, true));
      return;
    case 'f16':
      values.forEach((value, i) => view.setUint16(2 * i, floatToHalf(value), true));
      return;
    case 'bf16':
      values.forEach((value, i) => view.setUint16(2 * i, floatToBfloat(value), true));
      return;
    case 'q8_0':
      for (let start = 0, at = 0; start < values.length; start += 32, at += 34) {
        const block = values.subarray(start, start + 32);
        const scale = Math.fround(block.reduce((top, value) => Math.max(top, Math.abs(value)), 0) / 127);
        const inverse = scale === 0 ? 0 : Math.fround(1 / scale);
        view.setUint16(at, floatToHalf(scale), true);
        block.forEach((value, i) => {
          const scaled = Math.fround(value * inverse);
          view.setInt8(at + 2 + i, Math.sign(scaled) * Math.floor(Math.abs(scaled) + 0.5));
        });
      }
      return;
    default:
      throw new UnicornError('unsupported/kv-dtype', `A KV cache of ${dtype} is not supported.`, {
        fields: { dtype },
        fix: 'Use f32, f16, bf16 or q8_0.',
      });
  }
}
