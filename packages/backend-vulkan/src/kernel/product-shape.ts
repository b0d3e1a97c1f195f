/** The shape of a product, by which tiles are chosen. */
import type { DType } from '@unicorn-exec/tensor';

/** The properties of a product that its tile depends on. */
export interface ProductShape {
  readonly dtype: DType;
  /** Rows of the weight. */
  readonly rows: number;
  readonly columns: number;
  /** Rows of activations. */
  readonly tokens: number;
  /** 2 for a gated pair. */
  readonly banks: 1 | 2;
}
