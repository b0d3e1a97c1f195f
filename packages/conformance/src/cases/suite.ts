/** The export of each file of this folder: the cases of one op and the bound that its results are held to. */
import type { DeviceInfo } from '@unicorn-exec/tensor';
import type { Case } from '../case.js';
import type { BoundContext, BoundRule } from '../tolerance.js';

export interface OpSuite {
  readonly bound: BoundRule;
  /** Mean squared error over mean square that storing its operands is expected to add. Absent: they stay f32. */
  storing?(context: BoundContext): number;
  /** Small cases, at prime sizes. */
  cases(info: DeviceInfo): Case[];
  /** Cases at the sizes of real models. */
  benchmarks(info: DeviceInfo): Case[];
}

/** The last axis as rows: what norms and sums run over. */
export interface Rows {
  readonly rows: number;
  readonly columns: number;
}

/** Sum over one row of `f(index)`. */
export function sumRow({ columns }: Rows, row: number, f: (index: number) => number): number {
  let sum = 0;
  for (let i = row * columns; i < (row + 1) * columns; i++) sum += f(i);
  return sum;
}
