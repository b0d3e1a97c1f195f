/** Matmul: every weight dtype at prime sizes, views, and quantized activations. */
import { dtypeLayout, isBlockDType, type DeviceInfo, type DType } from '@unicorn-exec/tensor';
import { blockColumns, normal, outlierColumns, Sketch, spiky, type Case, type Fill } from '../case.js';
import { enteringErrors, packingErrors, storingNoise } from '../product-format.js';
import type { Errors } from '../bound.js';
import { gamma, productNoise, unit, type BoundContext } from '../tolerance.js';
import type { OpSuite } from './suite.js';

/** Elements of a block format that share a scale are 16 or 32; 32 covers both. */
const groupElements = 32;

/**
 * For each element of a weight row, a magnitude that its decoding may pass through.
 *
 * A scalar weight is itself. A block format is scale * q + offset: a kernel may sum scale * q * x and offset * x apart,
 * whose magnitudes can exceed that of their sum. With q from 0 (or from -n/2 to n/2 - 1, stored from 0) the offset is
 * about an end of the group's range, so |offset| <= m and |scale * q| <= 2 m for the largest magnitude m of the group:
 * together 3 m.
 */
function passingMagnitudes(dtype: DType, line: Float32Array): Float64Array {
  const out = Float64Array.from(line, Math.abs);
  if (!isBlockDType(dtype)) return out;
  for (let group = 0; group < out.length; group += groupElements) {
    const end = Math.min(out.length, group + groupElements);
    let top = 0;
    for (let i = group; i < end; i++) top = Math.max(top, out[i]!);
    out.fill(3 * top, group, end);
  }
  return out;
}

/**
 * y = sum over i of w_i x_i. Three parts:
 * - what x is off by, stored as the device stores what enters a product: sum of |w_i| e_i;
 * - where the device packs weights, what w is off by: sum of (|x_i| + e_i) f_i;
 * - rounding: at most k additions, a product each, and 3 roundings to decode a weight (scale of a sub-block, product,
 *   offset) and 2 to apply the scale of x: gamma(k + 6) times the sum of passing magnitudes. The reference itself
 *   rounds once, on the store.
 */
function bound({ inputs, outputs, format }: BoundContext): Errors[] {
  const [x, weight] = [inputs.x!.tensor, inputs.weight!.tensor];
  const [k, n, rows] = [x.columns, weight.rows, x.rows];
  const values = x.floats;
  const errors = new Float64Array(rows * n);
  const moved = enteringErrors(format.activations, inputs.x!);
  const line = new Float32Array(k);
  const packed = format.weights && new Float64Array(k);
  for (let column = 0; column < n; column++) {
    weight.decodeRow(column, line);
    const passing = passingMagnitudes(weight.dtype, line);
    if (packed) packingErrors(format.weights, line, inputs.weight!.rowTops![column]!, packed);
    for (let row = 0; row < rows; row++) {
      let carried = 0;
      let magnitude = 0;
      for (let i = 0, at = row * k; i < k; i++, at++) {
        const e = moved ? moved[at]! : 0;
        const size = Math.abs(values[at]!) + e;
        if (moved) carried += Math.abs(line[i]!) * e;
        if (packed) carried += size * packed[i]!;
        magnitude += passing[i]! * size;
      }
      const at = row * n + column;
      errors[at] = carried + gamma(k + 6) * magnitude + unit * Math.abs(outputs[0]!.floats[at]!);
    }
  }
  return [errors];
}

interface Shape {
  readonly rows: number;
  readonly columns: number;
  readonly k: number;
  readonly fill?: Fill;
  readonly label?: string;
}

function matmulCase(dtype: DType, { rows, columns, k, fill = normal, label = '' }: Shape): Case {
  const name = `matmul ${dtype} ${rows}x${k} by ${columns}${label && ` ${label}`}`;
  return {
    name,
    op: 'matmul',
    rows,
    noise: productNoise(1),
    make(batch) {
      const sketch = new Sketch(name, batch);
      const x = sketch.input('x', ['tokens', k], fill);
      sketch.output('y', sketch.builder.matmul(x, sketch.weight('w', dtype, [columns, k])));
      return sketch.problem();
    },
  };
}

/** A part of a stored weight, as MatFormer sizes take it: whole blocks of columns, any rows. */
function viewCase(
  dtype: DType,
  label: string,
  view: (stored: { rows: number; blocks: number }) => {
    rowStart?: number;
    rows?: number;
    columnStart?: number;
    columns?: number;
  },
): Case {
  const name = `matmul ${dtype} view of ${label}`;
  const { blockSize } = dtypeLayout(dtype);
  const unitColumns = blockSize === 1 ? 17 : blockSize;
  const stored = [23, 5 * unitColumns];
  return {
    name,
    op: 'matmul',
    rows: 3,
    noise: productNoise(1),
    make(batch) {
      const sketch = new Sketch(name, batch);
      const part = view({ rows: 23, blocks: 5 });
      const columns =
        part.columns === undefined
          ? { columnStart: (part.columnStart ?? 0) * unitColumns }
          : { columnStart: (part.columnStart ?? 0) * unitColumns, columns: part.columns * unitColumns };
      const weight = sketch.weight('w', dtype, stored, { ...part, ...columns });
      sketch.output('y', sketch.builder.matmul(sketch.input('x', ['tokens', weight.shape[1]!]), weight));
      return sketch.problem();
    },
  };
}

/** One row of x holds NaN (or an infinity) among finite rows. */
function poisonedCase(dtype: DType, value: number, promise: string): Case {
  const name = `matmul ${dtype} with ${value} in a row`;
  return {
    name,
    op: 'matmul',
    promise,
    nonFinite: true,
    make() {
      const sketch = new Sketch(name, [], { tokens: 5 });
      const k = dtypeLayout(dtype).blockSize === 1 ? 37 : blockColumns(dtype, 1);
      const x = sketch.input('x', [5, k]);
      const weight = sketch.weight('w', dtype, [7, k]);
      const problem = (sketch.output('y', sketch.builder.matmul(x, weight)), sketch.problem());
      problem.tensors.x!.floats[2 * k + 11] = value;
      return problem;
    },
  };
}

function rank3Case(): Case {
  const name = 'matmul f32 with three axes';
  return {
    name,
    op: 'matmul',
    rows: 3,
    make(batch) {
      const sketch = new Sketch(name, batch);
      const x = sketch.input('x', [2, 'tokens', 29]);
      sketch.output('y', sketch.builder.matmul(x, sketch.weight('w', 'f32', [11, 29])));
      return sketch.problem();
    },
  };
}

/** Two products that read one weight of one set: a device that repacks must not repack for one of them only. */
function sharedWeightCase(dtype: DType): Case {
  const name = `matmul ${dtype} two views of one weight`;
  return {
    name,
    op: 'matmul',
    rows: 2,
    make(batch) {
      const sketch = new Sketch(name, batch);
      const k = blockColumns(dtype, dtypeLayout(dtype).blockSize === 1 ? 41 : 1);
      const x = sketch.input('x', ['tokens', k]);
      const all = sketch.weight('w', dtype, [19, k]);
      const some = sketch.weight('w', dtype, [19, k], { rowStart: 5, rows: 7 });
      sketch.output('all', sketch.builder.matmul(x, all));
      sketch.output('some', sketch.builder.matmul(x, some));
      return sketch.problem();
    },
  };
}

function cases({ dtypes }: DeviceInfo): Case[] {
  const list: Case[] = [];
  for (const dtype of dtypes.weights) {
    const { blockSize } = dtypeLayout(dtype);
    const k = (blocks: number): number => blockSize * blocks;
    const shapes: Shape[] =
      blockSize === 1
        ? [
            { rows: 1, columns: 1, k: 1 },
            { rows: 1, columns: 67, k: 257 },
            { rows: 7, columns: 13, k: 31 },
            { rows: 33, columns: 37, k: 97 },
            { rows: 2, columns: 131, k: 64, fill: spiky, label: 'spiky' },
          ]
        : [
            { rows: 1, columns: 1, k: k(1) },
            { rows: 1, columns: 67, k: k(3) },
            { rows: 7, columns: 13, k: k(5) },
            { rows: 33, columns: 37, k: k(2) },
            { rows: 2, columns: 31, k: k(7), fill: spiky, label: 'spiky' },
          ];
    list.push(...shapes.map((shape) => matmulCase(dtype, shape)));
    list.push(
      viewCase(dtype, 'its last rows', () => ({ rowStart: 7 })),
      viewCase(dtype, 'rows in the middle', () => ({ rowStart: 3, rows: 11 })),
      viewCase(dtype, 'its first columns', () => ({ columns: 3 })),
      viewCase(dtype, 'rows and columns in the middle', () => ({
        rowStart: 5,
        rows: 13,
        columnStart: 1,
        columns: 3,
      })),
      sharedWeightCase(dtype),
      poisonedCase(dtype, NaN, 'A NaN spoils its own row, and no other.'),
    );
  }
  if (dtypes.weights.includes('f32')) {
    list.push(
      rank3Case(),
      poisonedCase('f32', Infinity, 'An infinity comes out with the sign of its weight, in its row alone.'),
      matmulCase('f32', { rows: 5, columns: 7, k: 19, fill: () => 0, label: 'of zeros' }),
    );
  }
  for (const dtype of dtypes.weights.filter((dtype) =>
    ['f32', 'bf16', 'q8_0', 'q4_0', 'q4_k'].includes(dtype),
  )) {
    list.push(
      matmulCase(dtype, { rows: 3, columns: 23, k: 1024, fill: outlierColumns, label: 'outlier columns' }),
    );
  }
  for (const dtype of dtypes.weights.filter((dtype) => ['q8_0', 'q4_0'].includes(dtype))) {
    // A block of zeros has no scale: 0 / 0 must not appear.
    list.push(matmulCase(dtype, { rows: 3, columns: 5, k: 64, fill: () => 0, label: 'of zeros' }));
  }
  return list;
}

/** Square as in models of one to two billion parameters: one row as in decode, many as in prefill. */
function benchmarks({ dtypes }: DeviceInfo): Case[] {
  return dtypes.weights.flatMap((dtype) =>
    [1, 64].map((rows) => matmulCase(dtype, { rows, columns: 2048, k: 2048 })),
  );
}

export const matmulSuite: OpSuite = {
  bound,
  storing: ({ inputs, format }) => storingNoise(format, inputs.x!, inputs.weight),
  cases,
  benchmarks,
};
