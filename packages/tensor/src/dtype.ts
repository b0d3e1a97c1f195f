/**
 * Element types: what a stored number is and how many bytes a run of them takes. Block formats hold `blockSize`
 * consecutive elements of a row in `blockBytes` bytes; scalar types are blocks of one.
 * Sizes are those of the GGUF specification (ggml `ggml_type` table).
 */
import { UnicornError } from './error.js';

const layouts = {
  f64: [1, 8],
  f32: [1, 4],
  f16: [1, 2],
  bf16: [1, 2],
  i64: [1, 8],
  i32: [1, 4],
  i16: [1, 2],
  i8: [1, 1],
  u64: [1, 8],
  u32: [1, 4],
  u16: [1, 2],
  u8: [1, 1],
  bool: [1, 1],
  q4_0: [32, 18],
  q4_1: [32, 20],
  q5_0: [32, 22],
  q5_1: [32, 24],
  q8_0: [32, 34],
  q2_k: [256, 84],
  q3_k: [256, 110],
  q4_k: [256, 144],
  q5_k: [256, 176],
  q6_k: [256, 210],
  iq1_s: [256, 50],
  iq1_m: [256, 56],
  iq2_xxs: [256, 66],
  iq2_xs: [256, 74],
  iq2_s: [256, 82],
  iq3_xxs: [256, 98],
  iq3_s: [256, 110],
  iq4_nl: [32, 18],
  iq4_xs: [256, 136],
  tq1_0: [256, 54],
  tq2_0: [256, 66],
  mxfp4: [32, 17],
  nvfp4: [64, 36],
} as const satisfies Record<string, readonly [blockSize: number, blockBytes: number]>;

export type DType = keyof typeof layouts;

/** Types whose elements stand alone (a block of one). */
export type ScalarDType =
  'f64' | 'f32' | 'f16' | 'bf16' | 'i64' | 'i32' | 'i16' | 'i8' | 'u64' | 'u32' | 'u16' | 'u8' | 'bool';

/** Quantized types: several elements of a row share a block. */
export type BlockDType = Exclude<DType, ScalarDType>;

export interface DTypeLayout {
  /** Elements in one block; 1 for scalar types. */
  readonly blockSize: number;
  /** Bytes of one block. */
  readonly blockBytes: number;
}

const table = new Map<string, DTypeLayout>(
  Object.entries(layouts).map(([name, [blockSize, blockBytes]]) => [name, { blockSize, blockBytes }]),
);

/** Every dtype, scalar types first. */
export const dtypes: readonly DType[] = Object.keys(layouts) as DType[];

/** Every block format. */
export const blockDTypes: readonly BlockDType[] = dtypes.filter(
  (dtype): dtype is BlockDType => layouts[dtype][0] > 1,
);

export function isDType(name: string): name is DType {
  return table.has(name);
}

export function isBlockDType(dtype: DType): dtype is BlockDType {
  return layouts[dtype][0] > 1;
}

/** @throws UnicornError `unsupported/dtype` for a name that is not a dtype, which plain JavaScript may pass. */
export function dtypeLayout(dtype: DType): DTypeLayout {
  const layout = table.get(dtype);
  if (layout) return layout;
  throw new UnicornError('unsupported/dtype', `There is no element type "${String(dtype)}".`, {
    fields: { dtype: String(dtype) },
    fix: `The types are ${dtypes.join(', ')}.`,
  });
}

/**
 * Bytes of `elements` consecutive elements of one row.
 *
 * @throws UnicornError `format/block-size` when the row is not a whole number of blocks, `format/overflow` when the size is
 *   not a safe integer
 */
export function rowBytes(dtype: DType, elements: number): number {
  const { blockSize, blockBytes } = dtypeLayout(dtype);
  if (elements % blockSize !== 0) {
    throw new UnicornError(
      'format/block-size',
      `A row of ${elements} elements is not a multiple of the ${dtype} block of ${blockSize}.`,
      { fields: { dtype, elements, blockSize } },
    );
  }
  const bytes = (elements / blockSize) * blockBytes;
  if (!Number.isSafeInteger(bytes)) {
    throw new UnicornError(
      'format/overflow',
      `A row of ${elements} ${dtype} elements has no representable size.`,
      {
        fields: { dtype, elements },
      },
    );
  }
  return bytes;
}

/**
 * Bytes of a dense tensor; the last dimension is the row. A scalar (`[]`) is one element.
 *
 * @throws UnicornError as {@link rowBytes}
 */
export function tensorBytes(dtype: DType, shape: readonly number[]): number {
  const row = shape.length === 0 ? 1 : shape[shape.length - 1]!;
  const rows = shape.slice(0, -1).reduce((product, dim) => product * dim, 1);
  const bytes = rows * rowBytes(dtype, row);
  if (!Number.isSafeInteger(bytes)) {
    throw new UnicornError(
      'format/overflow',
      `A ${dtype} tensor [${shape.join(', ')}] has no representable size.`,
      {
        fields: { dtype, shape: [...shape] },
      },
    );
  }
  return bytes;
}
