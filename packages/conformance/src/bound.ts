/** How far a correct device may be from what the reference computed, element by element. */
import { elementCount, type HostTensor } from '@unicorn-exec/tensor';

/**
 * The bound of each element; undefined where all are exact. A bound of Infinity promises nothing of a finite element. NaN and
 * infinities are always exact.
 */
export type Errors = Float64Array | undefined;

export interface Bounded {
  readonly tensor: HostTensor;
  readonly errors: Errors;
  /** For a weight that the device packs, the largest magnitude of each stored row of which it has a part. */
  readonly rowTops?: Float64Array;
}

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
