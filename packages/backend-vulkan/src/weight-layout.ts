/**
 * How a weight lies in device memory, mirrored by `native/weight-layout.h`. Quantized matrices are cut into planes, each
 * row-major and 16-byte aligned, so that a lane reads whole vectors:
 *
 *   quants  [rows, columns / 32, 16 bytes]   byte i: column i in the low, column 16 + i in the high nibble of a block
 *           8-bit types: [rows, columns / 32, 32 bytes], column i in byte i (signed)
 *   high    5 bits: [rows, columns / 32, 4 bytes], bit i is the fifth bit of column i;
 *           6 bits: [rows, columns / 32, 8 bytes], bits 2 i and 2 i + 1 are the upper bits of column i
 *   scales  f16 [rows, columns / 32]; types with minimums: f16 pairs (scale, min);
 *           K types: [rows, columns / 256, 16 bytes] small integers, (scale, min) pairs of 8 blocks, or 16 i8 (q6_K)
 *   supers  K types: f16 [rows, columns / 256] d, or pairs (d, dmin)
 *
 * The planes of a row part follow from the whole weight's row count. Types without planes lie as stored (`f32`, `f16`,
 * `bf16`; rows padded to 16 bytes) or, where no kernel reads them, widened to f32 when they are loaded.
 */
import type { DType } from '@unicorn-exec/tensor';

export interface WeightPlane {
  readonly name: 'quants' | 'high' | 'scales' | 'supers';
  /** From the weight's address. */
  readonly byteOffset: number;
  readonly rowBytes: number;
}

export interface WeightLayout {
  /** 0 as stored, 1 planes, 2 widened to f32: the addon's `layout`. */
  readonly kind: 0 | 1 | 2;
  /** dtype that kernels see: f32 where widened. */
  readonly dtype: DType;
  readonly planes: readonly WeightPlane[];
  readonly byteLength: number;
}

const align = (bytes: number): number => Math.ceil(bytes / 16) * 16;

/** Bytes of a row in each plane: [quants for each 32 columns, high for each 32, scales for each 32 or 256, supers for each 256]. */
interface PlaneBytes {
  readonly block: 32 | 256;
  readonly quants: number;
  readonly high?: number;
  readonly scales: number;
  readonly supers?: number;
}

const planeBytes: Partial<Record<DType, PlaneBytes>> = {
  q4_0: { block: 32, quants: 16, scales: 2 },
  iq4_nl: { block: 32, quants: 16, scales: 2 },
  q4_1: { block: 32, quants: 16, scales: 4 },
  q5_0: { block: 32, quants: 16, high: 4, scales: 2 },
  q5_1: { block: 32, quants: 16, high: 4, scales: 4 },
  q8_0: { block: 32, quants: 32, scales: 2 },
  q4_k: { block: 256, quants: 16, scales: 16, supers: 4 },
  q5_k: { block: 256, quants: 16, high: 4, scales: 16, supers: 4 },
  q6_k: { block: 256, quants: 16, high: 8, scales: 16, supers: 2 },
};

/** dtypes that matmul and embed read in planes. */
export const planeDTypes = Object.keys(planeBytes) as readonly DType[];

/** @param columns elements of a row; types in planes need a multiple of their block */
export function weightLayout(dtype: DType, rows: number, columns: number): WeightLayout {
  const bytes = planeBytes[dtype];
  if (!bytes || columns % bytes.block !== 0) {
    const size = { f32: 4, f16: 2, bf16: 2, i32: 4 }[dtype as string];
    const rowBytes = size === undefined ? align(4 * columns) : align(size * columns);
    const planes = [{ name: 'quants', byteOffset: 0, rowBytes } as const];
    return {
      kind: size === undefined ? 2 : 0,
      dtype: size === undefined ? 'f32' : dtype,
      planes,
      byteLength: rows * rowBytes,
    };
  }
  const planes: WeightPlane[] = [];
  let byteOffset = 0;
  const plane = (name: WeightPlane['name'], rowBytes: number): void => {
    planes.push({ name, byteOffset, rowBytes });
    byteOffset = align(byteOffset + rows * rowBytes);
  };
  plane('quants', (columns / 32) * bytes.quants);
  if (bytes.high !== undefined) plane('high', (columns / 32) * bytes.high);
  plane('scales', (columns / bytes.block) * bytes.scales);
  if (bytes.supers !== undefined) plane('supers', (columns / 256) * bytes.supers);
  return { kind: 1, dtype, planes, byteLength: byteOffset };
}
