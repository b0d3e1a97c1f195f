/** What a weight file says about one tensor. */
import type { DType } from '@unicorn-exec/tensor';

export interface TensorInfo {
  readonly name: string;
  /** Undefined for types that the engine cannot decode (F8_E4M3, C64, ...): their bytes can still be read. */
  readonly dtype: DType | undefined;
  /** The type as the file spells it: `Q4_0`, `BF16`. */
  readonly fileType: string;
  /** Row-major, slowest dimension first; `[]` is a scalar. */
  readonly shape: readonly number[];
  /** Absolute path of the file that holds the bytes: a device loads them by it, `offset` and `byteLength`. */
  readonly path: string;
  /** Byte offset from the start of that file. */
  readonly offset: number;
  readonly byteLength: number;
}
