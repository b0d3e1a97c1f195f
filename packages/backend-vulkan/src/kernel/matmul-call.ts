/** The call of products: `matmul` of @unicorn-exec/tensor, and the functions before and after it. */
import type { ActivationKind } from '@unicorn-exec/tensor';
import type { Place } from '../dispatch/dispatch.js';
import type { Operand, WeightOperand } from './operand.js';

export type Post =
  | { readonly kind: 'softcap'; readonly cap: number }
  | { readonly kind: 'scale'; readonly factor: number }
  | { readonly kind: 'activation'; readonly activation: ActivationKind }
  /** activation(result) * other; `other` has the shape of the result. */
  | { readonly kind: 'glu'; readonly activation: ActivationKind; readonly other: Operand };

/** result = posts(x @ weight^T + bias + residual), or posts(activation(x @ weight^T) * (x @ up^T)). */
export interface ProductCall {
  readonly weight: WeightOperand | Operand;
  readonly gated?: { readonly up: WeightOperand | Operand; readonly activation: ActivationKind };
  /** f32 [rows, weight rows]. May be the residual's place. */
  readonly out: Operand;
  /** f32 [weight rows]. */
  readonly bias?: Operand;
  /** f32, shape of `out`. */
  readonly residual?: Operand;
  readonly posts: readonly Post[];
}

/** x / rms(x) * (weightOffset + weight). `weight` f32 [k]. */
export interface FusedNorm {
  readonly weight?: Operand;
  readonly epsilon: number;
  readonly weightOffset: number;
}

export interface MatmulCall {
  /** f32 [rows, k]: leading axes are flattened. */
  readonly x: Operand;
  /** True: the place of x holds what this call would prepare of it, since attention `quantizes`. */
  readonly prepared?: true;
  /**
   * A sum that is made first: out = residual + norm(x), or residual + x. The call then reads `out` in place of x. Both are
   * f32 of x's shape; `out` may be the place of the residual or of x.
   */
  readonly join?: { readonly residual: Operand; readonly norm?: FusedNorm; readonly out: Operand };
  /** True: activations may be quantized to int8, one scale per 32, or rounded to f16. False: f32 throughout. */
  readonly fast: boolean;
  /** x is normed first. */
  readonly norm?: FusedNorm;
  /** One or more products over the same x. */
  readonly products: readonly ProductCall[];
  readonly scratch: Place;
  readonly counters: Place;
}
