/**
 * Error bounds that are derived, not tuned. The oracle evaluates a graph with the reference operations and carries for
 * every element a bound on how far a correct device may be from it: what the operands may already be off by, carried
 * through the op, plus what the op itself may round. The rule of each op, with its derivation, is in `cases/`.
 *
 * The model of a device: IEEE f32 with any order of summation, fused multiply-add or not, transcendental functions to a
 * few units in the last place. At precision `fast` a device may also quantize what enters a product with a weight, and
 * attention's queries, to int8 with one scale for 32 elements: see {@link quantizationError}. Nothing else.
 */
import { elementCount, type Attributes, type HostTensor } from '@unicorn-exec/tensor';
import type { Precision } from './case.js';

/** Unit roundoff of f32: the largest relative error of one rounded operation. */
export const unit = 2 ** -24;

/**
 * Units that a device's exp, tanh, sine or reciprocal root may be off by, with the rounding of its argument. Good
 * vectorized versions reach 1 to 2 units (for example SLEEF's u10 and u35 classes); the rest is the steps around it.
 */
export const functionUnits = 8;

/** Below this f32 is subnormal: devices may flush to zero. */
export const tiny = 2 ** -126;

/**
 * Higham's gamma: a sum of products with `steps` roundings, in any order, is off by at most gamma(steps) times the sum
 * of magnitudes (Accuracy and Stability of Numerical Algorithms, 2nd edition, lemma 3.1 and section 4.2).
 */
export function gamma(steps: number): number {
  return (steps * unit) / (1 - steps * unit);
}

/** Elements that share a scale when `fast` quantizes activations. */
export const quantizationBlock = 32;

/**
 * What int8 quantization of `x` (consecutive elements of a row, blocks from its start) costs each element: with step
 * d = max|x| / 127 rounding is off by d / 2 = max|x| / 254; a scale kept as f16 is off by 2^-11 of each value; and the
 * division by d in f32 may land on the other side of a tie, one unit of 127 steps further (2^-17 d, counted as 1%).
 */
export function quantizationError(
  x: ArrayLike<number>,
  start: number,
  count: number,
  out: Float64Array,
): void {
  for (let block = 0; block < count; block += quantizationBlock) {
    const end = Math.min(count, block + quantizationBlock);
    let top = 0;
    for (let i = block; i < end; i++) top = Math.max(top, Math.abs(x[start + i]!));
    for (let i = block; i < end; i++) out[i] = (1.01 * top) / 254 + Math.abs(x[start + i]!) * 2 ** -11;
  }
}

/**
 * Mean squared error over mean square that one int8 quantization adds to a product: the step is max|x| / 127, about
 * 2.3 / 127 standard deviations for 32 normal numbers, and a uniform error has the variance step^2 / 12: 2.7e-5, which
 * is also what devices show. Ten times that allows for what functions on the way amplify; a wrong row or a lost block
 * costs 1e-2 and more.
 */
const quantizationNoise = 2.7e-4;

/**
 * The same for f32 sums of n terms of either sign: n roundings, each of variance u^2 / 3 of a partial sum that is no
 * larger than the result by much, 3 times that for parts that cancel (see matmul): n u^2 3^2 / 3 is 2e-11 for the
 * n <= 1,792 of this suite. With a margin of 5: 2^-33.
 */
const roundingNoise = 2 ** -33;

/** Limits of {@link normalizedError} for products of normal data that follow each other. */
export function productNoise(products: number): Record<Precision, number> {
  return { f32: products * roundingNoise, fast: products * quantizationNoise };
}

/** Elements that an output must have for its noise to be judged: few may happen to be small. */
export const noiseElements = 16;

/** Mean squared distance over mean square of what was expected, over finite elements of which something is promised. */
export function normalizedError(actual: HostTensor, expected: HostTensor, errors?: Errors): number {
  const [have, want] = [actual.toFloats(), expected.toFloats()];
  let [noise, signal] = [0, 0];
  for (let i = 0; i < want.length; i++) {
    if (!Number.isFinite(want[i]!) || errorAt(errors, i) === Infinity) continue;
    noise += (have[i]! - want[i]!) ** 2;
    signal += want[i]! ** 2;
  }
  return noise === 0 ? 0 : noise / signal;
}

/** One bound an element; undefined: exact. Infinity: nothing is promised of a finite element. NaN and infinities are always exact. */
export type Errors = Float64Array | undefined;

export interface Bounded {
  readonly tensor: HostTensor;
  readonly errors: Errors;
}

export interface BoundContext {
  /** Operands as they were before the op, but for states, which the op has already changed. */
  readonly inputs: Readonly<Record<string, Bounded>>;
  readonly attributes: Attributes;
  /** What the reference computed. */
  readonly outputs: readonly HostTensor[];
  readonly precision: Precision;
}

/** The bound of each output. */
export type BoundRule = (context: BoundContext) => Errors[];

/** Errors of an element, 0 where exact. */
export function errorAt(errors: Errors, index: number): number {
  return errors ? errors[index]! : 0;
}

/** A bound for each element of `tensor`. */
export function boundEach(tensor: HostTensor, bound: (index: number) => number): Float64Array {
  const errors = new Float64Array(elementCount(tensor.shape));
  for (let i = 0; i < errors.length; i++) errors[i] = bound(i);
  return errors;
}

export interface Comparison {
  /** Largest |actual - expected| / bound; 1 is the limit. */
  readonly worst: number;
  /** A sentence when an element is out of bounds. */
  readonly fault?: string;
}

function indexOf(shape: readonly number[], flat: number): string {
  const index: number[] = [];
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    index.unshift(flat % shape[axis]!);
    flat = Math.floor(flat / shape[axis]!);
  }
  return `[${index.join(', ')}]`;
}

/** Elements must be within their bound; NaN where NaN, and the same infinity, is expected. */
export function compare(actual: HostTensor, { tensor, errors }: Bounded): Comparison {
  const wide = tensor.dtype === 'i32';
  const expected = wide ? tensor.integers : tensor.toFloats();
  const given = wide ? actual.integers : actual.toFloats();
  let worst = 0;
  let faults = 0;
  let first = '';
  for (let i = 0; i < expected.length; i++) {
    const [want, have] = [expected[i]!, given[i]!];
    const bound = errorAt(errors, i);
    if (Object.is(want, have) || want === have) continue;
    if (bound === Infinity && Number.isFinite(want)) continue;
    const limit = bound > 0 ? bound + tiny : 0;
    const distance = Math.abs(have - want);
    if (Number.isFinite(want) && distance <= limit) {
      worst = Math.max(worst, distance / limit);
      continue;
    }
    if (Number.isFinite(want) && Number.isNaN(bound)) {
      throw new Error(`The bound of element ${indexOf(tensor.shape, i)} is NaN: its rule is wrong.`);
    }
    worst = Infinity;
    if (faults++ === 0) {
      const allowed = limit > 0 ? ` within ${limit.toPrecision(3)} (off by ${distance.toPrecision(3)})` : '';
      first = `element ${indexOf(tensor.shape, i)} is ${have}, expected ${want}${allowed}`;
    }
  }
  return faults === 0
    ? { worst }
    : { worst, fault: `${first}; ${faults} of ${expected.length} elements are out of bounds` };
}
