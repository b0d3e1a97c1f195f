/** What the encoders of block formats share: storing a half, and the error for numbers that it cannot hold. */
import { type DType, UnicornError } from '@unicorn-exec/tensor';

/** Stores a half, little endian. */
export function put16(out: Uint8Array, at: number, bits: number): void {
  out[at] = bits;
  out[at + 1] = bits >> 8;
}

/** The error `usage/not-encodable`. */
export function beyond(dtype: DType, value: number, index: number): UnicornError {
  return new UnicornError(
    'usage/not-encodable',
    `The values from element ${index} on cannot be encoded as ${dtype}: ${value} is beyond its range.`,
    { fields: { dtype, index, value: String(value) }, fix: 'Keep this tensor in f32 or bf16.' },
  );
}
