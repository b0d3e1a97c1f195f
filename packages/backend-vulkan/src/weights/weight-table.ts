/** The facts about loaded weights that lowering and kernels need. The set itself (`weight-set.ts`) has the memory. */
import type { DType } from '@unicorn-exec/tensor';
import type { WeightLayout } from './weight-layout.js';

export interface LoadedWeight {
  /** Index in the addon's list, as in places. */
  readonly index: number;
  /** As in the file. */
  readonly dtype: DType;
  readonly layout: WeightLayout;
  /** All leading axes flattened. */
  readonly rows: number;
  readonly columns: number;
  /** True where it stays in host memory: it has no address, its rows are gathered. */
  readonly host: boolean;
  /** Index of the same numbers as dense f32, which vectors have beside what was loaded (their own where they are f32). */
  readonly floats: number | undefined;
}

export interface WeightTable {
  /** Bytes that they take on the device. */
  readonly byteLength: number;
  /** @throws UnicornError `usage/disposed` */
  loaded(name: string): LoadedWeight;
}
