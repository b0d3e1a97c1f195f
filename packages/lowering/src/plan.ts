/**
 * What lowering makes of a graph, as far as backends agree: values with a place in memory, and the steps that every
 * backend computes with kernels of its own kind. All of it is plain data. All other steps are the backend's own.
 */
import type { ActivationKind, DType, Shape, WeightView } from '@unicorn-exec/tensor';

/** A number of bytes that may depend on symbolic dims: `bytes` times the product of `symbols`. */
export interface Term {
  readonly bytes: number;
  readonly symbols: readonly string[];
}

/** The storage that a value lives in. Values that share storage name the same root. */
export type Storage =
  | { readonly kind: 'arena' }
  /** Index into the executable's bindings: inputs, then outputs, then states. */
  | { readonly kind: 'binding'; readonly index: number }
  | { readonly kind: 'constant'; readonly data: Float32Array | Int32Array }
  | { readonly kind: 'weight'; readonly name: string };

/** A value of the graph, or one that lowering adds after those (a table of sines). */
export interface PlannedValue {
  readonly id: number;
  readonly dtype: DType;
  readonly shape: Shape;
  /** The value whose storage this is. */
  root: number;
  /** Where it begins in that storage. */
  offset: readonly Term[];
  /** The part of a weight that is read. */
  readonly view?: WeightView;
  /** Where a root lies. */
  storage: Storage;
}

/** A function that a product applies to its result, after bias and residual, in the order of the list. */
export type Post =
  | { readonly kind: 'softcap'; readonly cap: number }
  | { readonly kind: 'scale'; readonly factor: number }
  | { readonly kind: 'activation'; readonly activation: ActivationKind }
  /** activation(result) * other */
  | { readonly kind: 'glu'; readonly activation: ActivationKind; readonly other: number };

export interface Product {
  readonly weight: number;
  /** Present for a gated unit, whose result is activation(x @ weight^T) * (x @ up^T). */
  readonly gated?: { readonly up: number; readonly activation: ActivationKind };
  readonly out: number;
  readonly bias?: number;
  readonly residual?: number;
  readonly posts: readonly Post[];
  readonly nodes: readonly number[];
}

export interface FusedNorm {
  readonly node: number;
  readonly weight: number | undefined;
  readonly epsilon: number;
  readonly weightOffset: number;
}

/** A sum that is made before the products which read it: out = residual + x, x normed first where there is a norm. */
export interface Join {
  /** The sum, and the norm before it. */
  readonly nodes: readonly number[];
  readonly residual: number;
  readonly norm?: FusedNorm;
  /** f32, shape of x. Later steps may read it too. */
  readonly out: number;
}

export interface MatmulStep {
  readonly kind: 'matmul';
  readonly x: number;
  /** The sum that is made first: norm and products read its result in place of x. */
  readonly join?: Join;
  /** True: quantized activations against packed weights. False: f32. */
  readonly quantized: boolean;
  readonly norm?: FusedNorm;
  readonly products: readonly Product[];
}

export interface AttentionStep {
  readonly kind: 'attention';
  readonly node: number;
  readonly query: number;
  readonly state: number;
  readonly positions: number;
  readonly starts: number;
  readonly blocks: number;
  readonly reach: number | undefined;
  readonly out: number;
  readonly scale: number;
  readonly window: number | undefined;
  readonly softcap: number | undefined;
}

export interface SampleStep {
  readonly kind: 'sample';
  readonly node: number;
  /** logits, parameters, controls, biasIds, biasValues, history, mask or undefined */
  readonly operands: readonly (number | undefined)[];
  readonly ids: number;
  readonly probabilities: number | undefined;
}

/** A stretch of the arena. */
export interface ArenaPlace {
  /** Roots that use it, one after the other, the later in place of the earlier. */
  readonly roots: number[];
  /** Bytes at the largest dims. */
  readonly bytes: number;
  /** Steps from the first that writes it to the last that reads it. */
  readonly first: number;
  readonly last: number;
  readonly offset: number;
}
