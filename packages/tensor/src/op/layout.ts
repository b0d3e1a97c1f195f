/** Ops that move elements and compute nothing: reshape, slice, concatenate, pick and replace rows. Any scalar dtype. */
import { dtypeLayout } from '../dtype.js';
import { UnicornError } from '../error.js';
import { formatShape, type Dim } from '../shape.js';
import type { HostTensor } from '../host-tensor.js';
import { expectDType, expectDim, expectRank, expectScalar, shapeError, type Op } from './op.js';

/** Copies bytes of dense tensors. A view of some columns of a weight is made dense first. */
function copyElements(
  from: HostTensor,
  fromIndex: number,
  to: HostTensor,
  toIndex: number,
  count: number,
): void {
  const size = dtypeLayout(from.dtype).blockBytes;
  to.bytes.set(
    from.denseBytes().subarray(fromIndex * size, (fromIndex + count) * size),
    to.byteOffset + toIndex * size,
  );
}

function product(shape: readonly number[]): number {
  return shape.reduce((a, b) => a * b, 1);
}

/** Product of a shape with symbols, as a comparable key: equal keys are equal element counts. */
function elementKey(shape: readonly Dim[]): string {
  const symbols = shape.filter((dim) => typeof dim === 'string').sort();
  return [shape.reduce<number>((a, dim) => (typeof dim === 'number' ? a * dim : a), 1), ...symbols].join('*');
}

export const reshape: Op = {
  name: 'reshape',
  about: 'the same elements under another shape',
  operands: [{ name: 'x', about: 'any scalar dtype' }],
  attributes: { shape: { type: 'dims', about: 'numbers and symbols with the same product' } },
  outputs({ x }, attributes) {
    const shape = attributes.shape as readonly Dim[];
    expectScalar('reshape', 'x', x!);
    if (elementKey(shape) !== elementKey(x!.shape)) {
      throw shapeError('reshape', `${formatShape(x!.shape)} cannot become ${formatShape(shape)}.`);
    }
    return [{ dtype: x!.dtype, shape }];
  },
  view: { 0: 'x' },
  flops: () => 0,
  bytes: () => 0,
  evaluate: ({ inputs, outputs }) => copyElements(inputs.x!, 0, outputs[0]!, 0, inputs.x!.elements),
};

export const slice: Op = {
  name: 'slice',
  about: 'elements start ... start + count of one axis',
  operands: [{ name: 'x', about: 'any scalar dtype' }],
  attributes: {
    axis: { type: 'number', about: 'the axis' },
    start: { type: 'number', about: 'first element' },
    count: { type: 'number', about: 'number of elements' },
  },
  outputs({ x }, attributes) {
    const { axis, start, count } = attributes as { axis: number; start: number; count: number };
    const dim = x!.shape[axis];
    expectScalar('slice', 'x', x!);
    if (
      typeof dim !== 'number' ||
      !Number.isInteger(start) ||
      !Number.isInteger(count) ||
      start < 0 ||
      count < 1 ||
      start + count > dim
    ) {
      throw shapeError('slice', `${start} + ${count} is outside axis ${axis} of ${formatShape(x!.shape)}.`);
    }
    return [{ dtype: x!.dtype, shape: x!.shape.with(axis, count) }];
  },
  flops: () => 0,
  evaluate({ inputs, attributes, outputs }) {
    const { axis, start, count } = attributes as { axis: number; start: number; count: number };
    const { shape } = inputs.x!;
    const inner = product(shape.slice(axis + 1));
    const outer = product(shape.slice(0, axis));
    for (let i = 0; i < outer; i++) {
      copyElements(
        inputs.x!,
        (i * shape[axis]! + start) * inner,
        outputs[0]!,
        i * count * inner,
        count * inner,
      );
    }
  },
};

export const concat: Op = {
  name: 'concat',
  about: 'tensors one after the other along an axis',
  operands: 'list',
  attributes: { axis: { type: 'number', about: 'the axis' } },
  outputs(inputs, attributes) {
    const axis = attributes.axis as number;
    const specs = Object.values(inputs);
    const [first] = specs;
    if (!first) throw shapeError('concat', 'needs at least one operand.');
    let total = 0;
    for (const spec of specs) {
      const dim = spec.shape[axis];
      expectScalar('concat', 'operand', spec);
      expectRank('concat', 'operand', spec, first.shape.length);
      if (typeof dim !== 'number' || spec.dtype !== first.dtype) {
        throw shapeError('concat', `${formatShape(spec.shape)} cannot be joined along axis ${axis}.`);
      }
      first.shape.forEach((other, i) => {
        if (i !== axis) expectDim('concat', `axis ${i}`, spec.shape[i], other);
      });
      total += dim;
    }
    return [{ dtype: first.dtype, shape: first.shape.with(axis, total) }];
  },
  flops: () => 0,
  evaluate({ inputs, attributes, outputs }) {
    const axis = attributes.axis as number;
    const out = outputs[0]!;
    const inner = product(out.shape.slice(axis + 1));
    const outer = product(out.shape.slice(0, axis));
    let at = 0;
    for (const tensor of Object.values(inputs)) {
      const run = tensor.shape[axis]! * inner;
      for (let i = 0; i < outer; i++) {
        copyElements(tensor, i * run, out, (i * out.shape[axis]! + at) * inner, run);
      }
      at += tensor.shape[axis]!;
    }
  },
};

/** @throws UnicornError `usage/row` when an index is outside the axis */
function expectRow(row: number, rows: number): void {
  if (row >= 0 && row < rows) return;
  throw new UnicornError('usage/row', `Row ${row} is outside the ${rows} rows of the axis.`, {
    fields: { row, rows },
  });
}

export const takeRows: Op = {
  name: 'takeRows',
  about: 'the rows of one axis that an index input names: narrows a prompt to what is read later',
  operands: [
    { name: 'x', about: 'any scalar dtype' },
    { name: 'rows', about: 'i32 [count], indices into the axis' },
  ],
  attributes: { axis: { type: 'number', about: 'the axis', default: 0 } },
  outputs({ x, rows }, attributes) {
    expectDType('takeRows', 'rows', rows!, 'i32');
    expectRank('takeRows', 'rows', rows!, 1);
    const axis = attributes.axis as number;
    expectScalar('takeRows', 'x', x!);
    if (!Number.isInteger(axis) || axis < 0 || axis >= x!.shape.length)
      throw shapeError('takeRows', `${formatShape(x!.shape)} has no axis ${axis}.`);
    return [{ dtype: x!.dtype, shape: x!.shape.with(axis, rows!.shape[0]!) }];
  },
  flops: () => 0,
  evaluate({ inputs, attributes, outputs }) {
    const axis = attributes.axis as number;
    const { shape } = inputs.x!;
    const rows = inputs.rows!.integers;
    const inner = product(shape.slice(axis + 1));
    const outer = product(shape.slice(0, axis));
    for (let i = 0; i < outer; i++) {
      rows.forEach((row, at) => {
        expectRow(row, shape[axis]!);
        copyElements(
          inputs.x!,
          (i * shape[axis]! + row) * inner,
          outputs[0]!,
          (i * rows.length + at) * inner,
          inner,
        );
      });
    }
  },
};

export const putRows: Op = {
  name: 'putRows',
  about: 'x with some of its rows replaced: what is given instead of embedded takes the place of embeddings',
  operands: [
    { name: 'x', about: 'any scalar dtype [n, ...]' },
    { name: 'rows', about: 'same dtype [count, ...], the rows that are put in' },
    { name: 'at', about: 'i32 [count], rows of x; distinct, unless the rows that go to one place are equal' },
  ],
  attributes: {},
  outputs({ x, rows, at }) {
    expectScalar('putRows', 'x', x!);
    expectDType('putRows', 'rows', rows!, x!.dtype);
    expectRank('putRows', 'rows', rows!, x!.shape.length);
    expectDType('putRows', 'at', at!, 'i32');
    expectRank('putRows', 'at', at!, 1);
    expectDim('putRows', 'the number of rows', rows!.shape[0], at!.shape[0]);
    rows!.shape.forEach((dim, axis) => {
      if (axis > 0) expectDim('putRows', `axis ${axis} of rows`, dim, x!.shape[axis]);
    });
    return [{ dtype: x!.dtype, shape: x!.shape }];
  },
  flops: () => 0,
  evaluate({ inputs, outputs }) {
    const { x, rows, at } = inputs;
    const inner = product(x!.shape.slice(1));
    copyElements(x!, 0, outputs[0]!, 0, x!.elements);
    at!.integers.forEach((row, index) => {
      expectRow(row, x!.shape[0]!);
      copyElements(rows!, index * inner, outputs[0]!, row * inner, inner);
    });
  },
};
