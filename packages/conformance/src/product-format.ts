/**
 * How a device stores what enters a product with a weight, and the error that this may cause: derived from what `DeviceInfo`
 * declares for the precision, and never from how well a device does.
 */
import {
  type HostTensor,
  type ActivationFormat,
  type DeviceInfo,
  type PackedWeightFormat,
  type Precision,
} from '@unicorn-exec/tensor';
import { ConformanceFailure } from './failure.js';
import { errorAt, type Bounded, type Errors } from './bound.js';

export interface ProductFormat {
  readonly activations: ActivationFormat;
  /** Absent: weights keep every bit of their dtype. */
  readonly weights?: PackedWeightFormat | undefined;
}

/** The format of a device that loses nothing. */
export const exactProducts: ProductFormat = { activations: { kind: 'float', dtype: 'f32' } };

/** @throws ConformanceFailure when the device does not say how it stores activations at that precision */
export function productFormat(
  { activations, packedWeights }: Pick<DeviceInfo, 'activations' | 'packedWeights'>,
  precision: Precision,
): ProductFormat {
  const format = activations[precision];
  if (format) return { activations: format, weights: packedWeights?.[precision] };
  throw new ConformanceFailure(`The info does not say how activations are stored at precision ${precision}.`);
}

/** True when a product loses nothing but what f32 arithmetic rounds. */
export function isExact({ activations, weights }: ProductFormat): boolean {
  return activations.kind === 'float' && activations.dtype === 'f32' && !weights;
}

/** True when NaN and infinities keep their place: no element shares a scale with another. */
export function keepsNonFinite({ activations, weights }: ProductFormat): boolean {
  return activations.kind === 'float' && !weights;
}

/** Half a step of 2^-10 (f16) or 2^-7 (bf16): the largest relative error of one rounding. */
const halfUnit = 2 ** -11;
const brainUnit = 2 ** -8;

/** The smallest magnitude that f16 rounds to infinity. */
const halfLimit = 65_520;

/**
 * The largest error that storing one element causes.
 *
 * - f16, bf16: one rounding; f16 also has a smallest step of 2^-24, and overflows.
 * - int8: with the step d = top / 127 rounding is off by d / 2 = top / 254; a scale kept as f16 is off by 2^-11 of each
 *   value; and the division by d in f32 may land on the other side of a tie, one unit of 127 steps further (2^-17 d,
 *   counted as 1%).
 *
 * @param magnitude the largest that the element may have
 * @param top the largest magnitude among the elements that share its scale
 */
function storingError(format: ActivationFormat | PackedWeightFormat, magnitude: number, top: number): number {
  if (format.kind === 'int8') return (1.01 * top) / 254 + magnitude * halfUnit;
  switch (format.dtype) {
    case 'f32':
      return 0;
    case 'f16':
      return magnitude < halfLimit ? magnitude * halfUnit + 2 ** -25 : Infinity;
    case 'bf16':
      return magnitude * brainUnit;
  }
}

/** Elements that share a scale: consecutive elements of a row from its start, a row, or all. */
function scaleGroup(format: ActivationFormat, { columns, elements }: HostTensor): number {
  if (format.kind === 'float') return 1;
  switch (format.scale) {
    case 'block':
      return Math.min(columns, format.blockSize);
    case 'row':
      return columns;
    case 'tensor':
      return elements;
  }
}

/**
 * What storing adds to the error of each element. An element that is off by e may raise its group's largest magnitude by
 * as much, and with it the step of the whole group.
 */
export function storingErrors(format: ActivationFormat, { tensor, errors }: Bounded): Errors {
  if (format.kind === 'float' && format.dtype === 'f32') return undefined;
  const x = tensor.floats;
  const group = scaleGroup(format, tensor);
  const { columns } = tensor;
  const out = new Float64Array(x.length);
  const magnitude = (i: number): number => Math.abs(x[i]!) + errorAt(errors, i);
  for (let start = 0; start < x.length;) {
    // Blocks begin anew with each row; the last of a row may be shorter.
    const rowEnd = group > columns ? x.length : start - (start % columns) + columns;
    const end = Math.min(start + group, rowEnd);
    let top = 0;
    for (let i = start; i < end; i++) top = Math.max(top, magnitude(i));
    for (let i = start; i < end; i++) out[i] = storingError(format, magnitude(i), top);
    start = end;
  }
  return out;
}

/** The errors of `x` as it enters a product: its own, and what storing adds. */
export function enteringErrors(format: ActivationFormat, x: Bounded): Errors {
  const stored = storingErrors(format, x);
  if (!stored || !x.errors) return stored ?? x.errors;
  return stored.map((error, i) => error + x.errors![i]!);
}

/** What packing costs each element of a weight's row whose stored row has the largest magnitude `top`. */
export function packingErrors(
  format: PackedWeightFormat,
  line: Float32Array,
  top: number,
  out: Float64Array,
): void {
  for (let i = 0; i < line.length; i++) out[i] = storingError(format, Math.abs(line[i]!), top);
}

/**
 * Mean squared error over mean square that storing is expected to add to a product: an element that is off by at most e,
 * evenly, has the variance e^2 / 3. The data itself decides, since an outlier takes the step of all that share its scale.
 */
export function storingNoise({ activations, weights }: ProductFormat, x: Bounded, weight?: Bounded): number {
  const given = storingErrors(activations, { tensor: x.tensor, errors: undefined });
  let noise = given ? meanRatio(x.tensor.floats, given) : 0;
  if (weights && weight) {
    const { tensor, rowTops } = weight;
    const line = new Float32Array(tensor.columns);
    const packed = new Float64Array(tensor.columns);
    let [error, signal] = [0, 0];
    for (let row = 0; row < tensor.rows; row++) {
      tensor.decodeRow(row, line);
      packingErrors(weights, line, rowTops![row]!, packed);
      for (let i = 0; i < line.length; i++) {
        error += packed[i]! ** 2 / 3;
        signal += line[i]! ** 2;
      }
    }
    if (signal > 0) noise += error / signal;
  }
  return noise;
}

function meanRatio(values: ArrayLike<number>, errors: ArrayLike<number>): number {
  let [noise, signal] = [0, 0];
  for (let i = 0; i < values.length; i++) {
    if (!Number.isFinite(values[i]!)) continue;
    noise += errors[i]! ** 2 / 3;
    signal += values[i]! ** 2;
  }
  return signal > 0 ? noise / signal : 0;
}
