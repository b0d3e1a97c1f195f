/** The second operand of a product, and the table of a lookup, as shaders address it: one form for weights and tensors. */
import { UnicornError, type DType } from '@unicorn-exec/tensor';
import type { Place } from '../dispatch/dispatch.js';
import { planeDTypes } from '../weights/weight-layout.js';
import { isWeightOperand, type Operand, type WeightOperand } from './operand.js';

/** Bytes of an element of the types that lie without planes. */
const elementBytes: Partial<Record<DType, number>> = { f32: 4, f16: 2, bf16: 2 };

export interface Matrix {
  readonly place: Place;
  readonly dtype: DType;
  /** Whether quants, scales and so on lie apart (`weight-layout.ts`). */
  readonly planes: boolean;
  /** Rows of the part that is meant. */
  readonly rows: number;
  readonly columns: number;
  readonly rowStart: number;
  readonly columnStart: number;
  /** Rows of the whole matrix; `storedColumns` is the distance of rows in elements. */
  readonly storedRows: number;
  readonly storedColumns: number;
  /** Columns that are 16 bytes, where rows and their parts begin at a multiple of that; else 0. */
  readonly wideColumns: number;
}

/** Shaders count elements in 32 bits. */
const maximumElements = 2 ** 32;

/** @throws UnicornError `unsupported/dtype` for a type that no shader reads, `unsupported/shape` for one beyond 2^32 elements */
export function matrixOf(operand: WeightOperand | Operand): Matrix {
  const matrix = isWeightOperand(operand) ? storedMatrix(operand) : denseMatrix(operand);
  const { dtype, storedRows, storedColumns } = matrix;
  if (storedRows * storedColumns >= maximumElements) {
    throw new UnicornError(
      'unsupported/shape',
      `A matrix of ${storedRows} x ${storedColumns} elements is beyond 2^32 elements.`,
      { fields: { dtype, rows: storedRows, columns: storedColumns } },
    );
  }
  return matrix;
}

function storedMatrix({ place, layout, rows, columns, view }: WeightOperand): Matrix {
  const { dtype } = layout;
  const planes = planeDTypes.includes(dtype);
  const bytes = planes ? 0 : bytesOf(dtype);
  const whole = planes || (view.columnStart * bytes) % 16 === 0;
  return {
    place,
    dtype,
    planes,
    ...view,
    storedRows: rows,
    storedColumns: planes ? columns : layout.planes[0]!.rowBytes / bytes,
    wideColumns: !whole ? 0 : planes ? 32 : 16 / bytes,
  };
}

function denseMatrix({ place, dtype, shape }: Operand): Matrix {
  bytesOf(dtype);
  const columns = shape.at(-1) ?? 1;
  const rows = shape.slice(0, -1).reduce((a, b) => a * b, 1);
  const whole = { rowStart: 0, columnStart: 0, storedRows: rows, storedColumns: columns };
  return { place, dtype, planes: false, rows, columns, ...whole, wideColumns: 0 };
}

function bytesOf(dtype: DType): number {
  const bytes = elementBytes[dtype];
  if (bytes === undefined) {
    throw new UnicornError('unsupported/dtype', `No Vulkan kernel reads a matrix of ${dtype}.`, {
      fields: { dtype },
    });
  }
  return bytes;
}

/** Whether a dense f32 operand can be read by vectors of 16 bytes: bound memory may begin anywhere. */
export function isWide(place: Place, columns: number): boolean {
  return place.storage.kind === 'arena' && place.byteOffset % 16 === 0 && columns % 4 === 0;
}

/** Whether a dense f32 vector that no dispatch writes, or one in the arena, can be read by vectors of 16 bytes. */
export function isAligned({ storage, byteOffset }: Place): boolean {
  return ['arena', 'weight', 'constants'].includes(storage.kind) && byteOffset % 16 === 0;
}
