/** Kernels of `move.comp`, which move elements and compute nothing: slice, concat, takeRows, copy. Any scalar dtype. */
import { dtypeLayout, type DType } from '@unicorn-exec/tensor';
import { optional, read, u32, write, type Dispatch, type Place } from '../dispatch/dispatch.js';
import { opKernel } from './declaration.js';
import { groupsFor, product, workgroupSize } from './grid.js';
import type { Faults, Operand } from './operand.js';

const unitsPerInvocation = 4;

/** `outer` times `inner` runs. All sizes in bytes but for the counts. */
interface Runs {
  readonly source: Place;
  readonly target: Place;
  readonly outer: number;
  readonly inner: number;
  readonly run: number;
  readonly sourceStart?: number;
  readonly sourceOuterStride: number;
  readonly sourceInnerStride: number;
  readonly targetStart?: number;
  readonly targetOuterStride: number;
  /** Which of `sourceRuns` runs goes to each inner one. */
  readonly picked?: { readonly rows: Place; readonly sourceRuns: number; readonly faults: Place };
}

function move(name: string, runs: Runs): Dispatch[] {
  const { source, target, outer, inner, run, sourceStart = 0, targetStart = 0, picked } = runs;
  const { sourceOuterStride, sourceInnerStride, targetOuterStride } = runs;
  if (outer === 0 || inner === 0 || run === 0) return [];
  const sizes = [run, sourceStart, sourceOuterStride, sourceInnerStride, targetStart, targetOuterStride];
  const unitBytes = [4, 2, 1].find((bytes) => sizes.every((size) => size % bytes === 0))!;
  const units = (bytes: number) => u32(bytes / unitBytes);
  const count = (outer * inner * run) / unitBytes;
  return [
    {
      pipeline: { shader: `move-${8 * unitBytes}`, constants: [workgroupSize, Number(picked !== undefined)] },
      arguments: [
        read(source),
        write(target),
        optional(picked?.rows),
        picked ? read(picked.faults) : { kind: 'null' },
        u32(count),
        units(run),
        u32(inner),
        units(sourceStart),
        units(sourceOuterStride),
        units(sourceInnerStride),
        units(targetStart),
        units(targetOuterStride),
        u32(picked?.sourceRuns ?? 0),
      ],
      groups: groupsFor(count, unitsPerInvocation),
      name,
    },
  ];
}

function elementBytes(dtype: DType): number {
  return dtypeLayout(dtype).blockBytes;
}

/** Elements before, along and after an axis: [outer, dim, inner bytes]. */
function around(shape: readonly number[], axis: number, dtype: DType): [number, number, number] {
  const inner = product(shape.slice(axis + 1)) * elementBytes(dtype);
  return [product(shape.slice(0, axis)), shape[axis]!, inner];
}

/** Movers take any scalar dtype, 1 to 8 bytes an element. */
export interface SliceCall {
  readonly x: Operand;
  readonly out: Operand;
  readonly axis: number;
  readonly start: number;
}

export const slice = opKernel<SliceCall>({
  operands: 'stored',
  handsOn: 'x',
  call: (op) => ({
    x: op.input('x'),
    out: op.out,
    axis: op.attribute('axis'),
    start: op.attribute('start'),
  }),
  dispatch({ x, out, axis, start }) {
    const [outer, dim, inner] = around(x.shape, axis, x.dtype);
    const run = out.shape[axis]! * inner;
    return move('slice', {
      source: x.place,
      target: out.place,
      outer,
      inner: 1,
      run,
      sourceStart: start * inner,
      sourceOuterStride: dim * inner,
      sourceInnerStride: 0,
      targetOuterStride: run,
    });
  },
});

export interface ConcatCall {
  readonly parts: readonly Operand[];
  readonly out: Operand;
  readonly axis: number;
}

export const concat = opKernel<ConcatCall>({
  operands: 'stored',
  call: (op) => ({
    parts: Object.keys(op.step.inputs).map((name) => op.input(name)),
    out: op.out,
    axis: op.attribute('axis'),
  }),
  /** One dispatch a part. */
  dispatch({ parts, out, axis }) {
    const [, total, inner] = around(out.shape, axis, out.dtype);
    let before = 0;
    return parts.flatMap((part) => {
      const [outer, dim] = around(part.shape, axis, part.dtype);
      const targetStart = before * inner;
      before += dim;
      return move('concat', {
        source: part.place,
        target: out.place,
        outer,
        inner: 1,
        run: dim * inner,
        sourceOuterStride: dim * inner,
        sourceInnerStride: 0,
        targetStart,
        targetOuterStride: total * inner,
      });
    });
  },
});

export interface TakeRowsCall {
  readonly x: Operand;
  /** i32 [count]. */
  readonly rows: Operand;
  readonly out: Operand;
  readonly axis: number;
  readonly faults: Faults;
}

export const takeRows = opKernel<TakeRowsCall>({
  operands: 'stored',
  handsOn: 'x',
  call: (op) => ({
    x: op.input('x'),
    rows: op.input('rows'),
    out: op.out,
    axis: op.attribute('axis'),
    faults: op.at.faults,
  }),
  dispatch({ x, rows, out, axis, faults }) {
    const [outer, dim, inner] = around(x.shape, axis, x.dtype);
    const count = product(rows.shape);
    // An axis without rows has nothing to read: every index is out of range there.
    if (dim === 0) return [];
    return move('takeRows', {
      source: x.place,
      target: out.place,
      outer,
      inner: count,
      run: inner,
      sourceOuterStride: dim * inner,
      sourceInnerStride: inner,
      targetOuterStride: count * inner,
      picked: { rows: rows.place, sourceRuns: dim, faults },
    });
  },
});

export interface CopyCall {
  readonly x: Operand;
  /** Bytes from one row (last axis) of x to the next; dense by default. A part of a weight has other ones. */
  readonly rowStrideBytes?: number;
  /** Dense. Same dtype and shape. */
  readonly out: Operand;
}

/** A kernel without an op of the graph: lowering adds its step where a value must lie elsewhere. */
export const copy = opKernel<CopyCall>({
  operands: 'stored',
  call(op) {
    const { operand, rowStrideBytes } = op.at.stored(op.step.inputs.x!);
    // A part of a weight is rows and columns, whatever the shape of its value.
    const call = { x: operand, out: { ...op.out, shape: operand.shape } };
    return { ...call, ...(rowStrideBytes === undefined ? {} : { rowStrideBytes }) };
  },
  dispatch({ x, rowStrideBytes, out }) {
    const run = (x.shape.at(-1) ?? 1) * elementBytes(x.dtype);
    const rows = product(x.shape.slice(0, -1));
    const stride = rowStrideBytes ?? run;
    const dense = stride === run;
    return move('copy', {
      source: x.place,
      target: out.place,
      outer: 1,
      inner: dense ? 1 : rows,
      run: dense ? rows * run : run,
      sourceOuterStride: 0,
      sourceInnerStride: dense ? 0 : stride,
      targetOuterStride: 0,
    });
  },
});
