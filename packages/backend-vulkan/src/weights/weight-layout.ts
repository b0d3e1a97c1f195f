/**
 * How a weight lies in device memory, mirrored by `native/weights/weight-layout.h`. Quantized matrices are cut into planes, each
 * row-major and 16-byte aligned, so that a lane reads whole vectors:
 *
 *   quants  [rows, columns / 32, 16 bytes]   byte i: column i in the low, column 16 + i in the high nibble of a block
 *           8-bit types: [rows, columns / 32, 32 bytes], column i in byte i (signed)
 *   high    5 bits: [rows, columns / 32, 4 bytes], bit i / 4 of byte i % 4 is the fifth bit of column i;
 *           6 bits: [rows, columns / 32, 2, 4 bytes], of columns 0 to 15 and 16 to 31: bits 2 (i / 4) and 2 (i / 4) + 1 of
 *           byte i % 4 are the upper bits of column i. So one shift and one mask serve four columns.
 *   scales  f16 [rows, columns / 32]; types with minimums: f16 pairs (scale, min);
 *           K types: [rows, columns / 256, 16 bytes] small integers, (scale, min) pairs of 8 blocks, or 16 i8 (q6_K)
 *   supers  K types: f16 [rows, columns / 256] d, or pairs (d, dmin)
 *
 * The planes of a row part follow from the whole weight's row count. Types without planes lie as stored (`f32`, `f16`,
 * `bf16`, `i32`; rows padded to 16 bytes). Other types have no layout, and no kernel: the device refuses them.
 */
import { UnicornError, type DType } from '@unicorn-exec/tensor';

export interface WeightPlane {
  readonly name: 'quants' | 'high' | 'scales' | 'supers';
  /** From the weight's address. */
  readonly byteOffset: number;
  readonly rowBytes: number;
}

export interface WeightLayout {
  /** 0 as stored, 1 planes: the addon's `layout`. */
  readonly kind: 0 | 1;
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

const storedElementBytes: Partial<Record<DType, number>> = { f32: 4, f16: 2, bf16: 2, i32: 4 };

/** dtypes that lie in planes. */
export const planeDTypes = Object.keys(planeBytes) as readonly DType[];

/** dtypes that have a layout; products and lookups take all but i32. */
export const layoutDTypes = [...Object.keys(storedElementBytes), ...planeDTypes] as readonly DType[];

/**
 * @param rows product of all axes but the last
 * @param columns elements of a row: whole blocks
 * @throws UnicornError `unsupported/dtype` for a dtype that has no layout
 */
export function weightLayout(dtype: DType, rows: number, columns: number): WeightLayout {
  const planes: WeightPlane[] = [];
  let byteLength = 0;
  const plane = (name: WeightPlane['name'], rowBytes: number): void => {
    planes.push({ name, byteOffset: byteLength, rowBytes });
    byteLength = align(byteLength + rows * rowBytes);
  };
  const elementBytes = storedElementBytes[dtype];
  if (elementBytes !== undefined) {
    plane('quants', align(elementBytes * columns));
    return { kind: 0, dtype, planes, byteLength };
  }
  const bytes = planeBytes[dtype];
  if (!bytes || columns % bytes.block !== 0) {
    throw new UnicornError(
      'unsupported/dtype',
      `The Vulkan backend has no layout for ${dtype} [${rows}, ${columns}].`,
      {
        fields: { dtype, rows, columns },
        fix: `Convert the weight to one of: ${layoutDTypes.join(', ')}.`,
      },
    );
  }
  plane('quants', (columns / 32) * bytes.quants);
  if (bytes.high !== undefined) plane('high', (columns / 32) * bytes.high);
  plane('scales', (columns / bytes.block) * bytes.scales);
  if (bytes.supers !== undefined) plane('supers', (columns / 256) * bytes.supers);
  return { kind: 1, dtype, planes, byteLength };
}
