/** Elementwise arithmetic with numpy broadcasting, and the mean over an axis. */
import { broadcastShapes, elementCount, formatShape } from '../shape.js';
import type { HostTensor } from '../host-tensor.js';
import { expectDType, shapeError, specElements, type Op } from './op.js';

/** The strides of an operand over the axes of the output: 0 where it repeats. */
function broadcastStrides(shape: readonly number[], out: readonly number[]): number[] {
  let stride = 1;
  const strides = new Array<number>(out.length).fill(0);
  for (let axis = 1; axis <= shape.length; axis++) {
    const dim = shape[shape.length - axis]!;
    if (dim !== 1) strides[out.length - axis] = stride;
    stride *= dim;
  }
  return strides;
}

function evaluateBinary(
  a: HostTensor,
  b: HostTensor,
  out: HostTensor,
  f: (a: number, b: number) => number,
): void {
  const left = a.toFloats();
  const right = b.toFloats();
  const result = out.floats;
  const leftStrides = broadcastStrides(a.shape, out.shape);
  const rightStrides = broadcastStrides(b.shape, out.shape);
  const index = new Array<number>(out.shape.length).fill(0);
  let [l, r] = [0, 0];
  for (let i = 0; i < result.length; i++) {
    result[i] = f(left[l]!, right[r]!);
    for (let axis = index.length - 1; axis >= 0; axis--) {
      l += leftStrides[axis]!;
      r += rightStrides[axis]!;
      if (++index[axis]! < out.shape[axis]!) break;
      l -= leftStrides[axis]! * out.shape[axis]!;
      r -= rightStrides[axis]! * out.shape[axis]!;
      index[axis] = 0;
    }
  }
}

function binary(name: string, about: string, f: (a: number, b: number) => number): Op {
  return {
    name,
    about,
    operands: [
      { name: 'a', about: 'any dtype; f32 but for weights such as a bias or a scale' },
      { name: 'b', about: 'shape that broadcasts with a' },
    ],
    attributes: {},
    outputs({ a, b }) {
      const shape = broadcastShapes(a!.shape, b!.shape);
      if (!shape)
        throw shapeError(name, `${formatShape(a!.shape)} and ${formatShape(b!.shape)} do not broadcast.`);
      return [{ dtype: 'f32', shape }];
    },
    flops: ({ a, b }) => elementCount(broadcastShapes(a!.shape, b!.shape) as number[]),
    evaluate: ({ inputs, outputs }) => evaluateBinary(inputs.a!, inputs.b!, outputs[0]!, f),
  };
}

export const add = binary('add', 'a + b', (a, b) => a + b);
export const multiply = binary('multiply', 'a * b', (a, b) => a * b);

export const scale: Op = {
  name: 'scale',
  about: 'x * factor',
  operands: [{ name: 'x', about: 'f32, any shape' }],
  attributes: { factor: { type: 'number', about: 'the factor' } },
  outputs({ x }) {
    expectDType('scale', 'x', x!, 'f32');
    return [{ dtype: 'f32', shape: x!.shape }];
  },
  flops: ({ x }) => specElements(x!),
  evaluate({ inputs, attributes, outputs }) {
    const x = inputs.x!.floats;
    const out = outputs[0]!.floats;
    for (let i = 0; i < x.length; i++) out[i] = x[i]! * (attributes.factor as number);
  },
};

export const mean: Op = {
  name: 'mean',
  about: 'the mean over the first axis',
  operands: [{ name: 'x', about: 'f32 [n, ...]' }],
  attributes: {},
  outputs({ x }) {
    expectDType('mean', 'x', x!, 'f32');
    if (x!.shape.length < 2 || typeof x!.shape[0] !== 'number') {
      throw shapeError('mean', `needs a first axis of known size, not ${formatShape(x!.shape)}.`);
    }
    return [{ dtype: 'f32', shape: x!.shape.slice(1) }];
  },
  flops: ({ x }) => specElements(x!),
  evaluate({ inputs, outputs }) {
    const x = inputs.x!.floats;
    const out = outputs[0]!.floats;
    const n = inputs.x!.shape[0]!;
    for (let i = 0; i < out.length; i++) {
      let sum = 0;
      for (let k = 0; k < n; k++) sum += x[k * out.length + i]!;
      out[i] = sum / n;
    }
  },
};
