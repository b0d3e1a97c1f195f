/**
 * Error bounds that are derived, not tuned. The oracle evaluates a graph with the reference operations and carries for
 * every element a bound on how far a correct device may be from it: what the operands may already be off by, carried
 * through the op, plus what the op itself may round. The rule of each op, with its derivation, is in `cases/`.
 *
 * The model of a device: IEEE f32 with any order of summation, fused multiply-add or not, transcendental functions to a
 * few units in the last place. What enters a product with a weight, and attention's queries, it may store as its info
 * declares for the precision: see `product-format.ts`. Nothing else.
 */
import type { Attributes, HostTensor } from '@unicorn-exec/tensor';
import { errorAt, type Bounded, type Errors } from './bound.js';
import type { ProductFormat } from './product-format.js';

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

/**
 * Mean squared error over mean square of f32 sums of n terms of either sign: n roundings, each of variance u^2 / 3 of a
 * partial sum that is no larger than the result by much, 3 times that for parts that cancel (see matmul): n u^2 3^2 / 3
 * is 2e-11 for the n <= 1,792 of this suite. With a margin of 5: 2^-33.
 */
const roundingNoise = 2 ** -33;

/**
 * The factor by which storing may add more than is expected: functions on the way amplify, and a few elements may happen to
 * be large. A wrong row or a lost block costs a hundred times as much.
 */
const noiseMargin = 8.5;

/**
 * The products that follow each other on the way to an output. Worst-case bounds grow with the length of a sum and with
 * every product of a chain; noise does not, so this sees what they forgive.
 */
export interface Noise {
  /** Products whose f32 rounding counts; absent where a value on the way is rounded to fewer bits, which may go either way. */
  readonly rounded?: number;
  /** Products whose stored operands count. */
  readonly stored: number;
}

/** A path of that many products, each of which rounds and stores. */
export function productNoise(products: number): Noise {
  return { rounded: products, stored: products };
}

/**
 * The limit of {@link normalizedError}; undefined where there is none.
 *
 * @param storing what storing is expected to add to the noisiest product of the graph; 0 where nothing is lost
 */
export function noiseLimit({ rounded, stored }: Noise, storing: number): number | undefined {
  if (rounded === undefined && storing === 0) return undefined;
  return (rounded ?? 0) * roundingNoise + stored * noiseMargin * storing;
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

export interface BoundContext {
  /** Operands as they were before the op, but for states, which the op has already changed. */
  readonly inputs: Readonly<Record<string, Bounded>>;
  readonly attributes: Attributes;
  /** What the reference computed. */
  readonly outputs: readonly HostTensor[];
  readonly format: ProductFormat;
}

/** The bound of each output. */
export type BoundRule = (context: BoundContext) => Errors[];

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
