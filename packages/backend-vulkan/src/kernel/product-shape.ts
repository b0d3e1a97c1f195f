/** What tiles are chosen by. */
import type { DType } from '@unicorn-exec/tensor';

/** A product as far as the cut depends on it. */
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
