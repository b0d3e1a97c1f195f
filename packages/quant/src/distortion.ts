/** How much a block format changes numbers: the report by which formats are compared. */
import { decodeRow, type DType, UnicornError } from '@unicorn-exec/tensor';
import { encodeTensor } from './encode-row.js';

export interface Distortion {
  /** Largest absolute difference. */
  readonly maxAbs: number;
  /** Root of the mean squared difference. */
  readonly rootMeanSquare: number;
  /** The same relative to the root mean square of the original; 0 for an original of zeros kept exactly. */
  readonly relative: number;
}

/**
 * Compares decoded values with the original, in double precision.
 *
 * @throws UnicornError `usage/range` when there are not as many of both
 */
export function distortion(original: Float32Array, decoded: Float32Array): Distortion {
  if (original.length !== decoded.length) {
    throw new UnicornError('usage/range', `Cannot compare ${original.length} values with ${decoded.length}.`);
  }
  let maxAbs = 0;
  let squares = 0;
  let power = 0;
  for (let i = 0; i < original.length; i++) {
    const difference = Math.abs(decoded[i]! - original[i]!);
    if (!(difference <= maxAbs)) maxAbs = difference;
    squares += difference * difference;
    power += original[i]! * original[i]!;
  }
  return {
    maxAbs,
    rootMeanSquare: original.length === 0 ? 0 : Math.sqrt(squares / original.length),
    relative: squares === 0 ? 0 : Math.sqrt(squares / power),
  };
}

/** Distortion of encoding to `dtype` and back. @throws UnicornError as `encodeRow`. */
export function encodingDistortion(dtype: DType, values: Float32Array): Distortion {
  const decoded = new Float32Array(values.length);
  decodeRow(dtype, encodeTensor(dtype, values), 0, values.length, decoded);
  return distortion(values, decoded);
}
