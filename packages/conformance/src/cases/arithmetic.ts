/** add, multiply, scale, mean: broadcasting and IEEE special values. */
import { type Dim, type DType, type HostTensor, type Value } from '@unicorn-exec/tensor';
import { normal, Sketch, wide, type Case, type Fill } from '../case.js';
import { boundEach, errorAt, type Bounded, type Errors } from '../bound.js';
import { gamma, unit, type BoundContext } from '../tolerance.js';
import type { OpSuite } from './suite.js';

/** For each output element the index of an operand's element (numpy broadcasting). */
function broadcastIndex(shape: readonly number[], out: readonly number[]): (flat: number) => number {
  const strides = new Array<number>(out.length).fill(0);
  let stride = 1;
  for (let axis = 1; axis <= shape.length; axis++) {
    if (shape[shape.length - axis]! !== 1) strides[out.length - axis] = stride;
    stride *= shape[shape.length - axis]!;
  }
  return (flat) => {
    let index = 0;
    for (let axis = out.length - 1; axis >= 0; axis--) {
      index += (flat % out[axis]!) * strides[axis]!;
      flat = Math.floor(flat / out[axis]!);
    }
    return index;
  };
}

interface Side {
  readonly size: number;
  readonly error: number;
}

function binaryBound(rule: (a: Side, b: Side, y: number) => number): OpSuite['bound'] {
  return ({ inputs, outputs }: BoundContext): Errors[] => {
    const out: HostTensor = outputs[0]!;
    const y = out.floats;
    const side = ({ tensor, errors }: Bounded): ((flat: number) => Side) => {
      const values = tensor.toFloats();
      const index = broadcastIndex(tensor.shape, out.shape);
      return (flat) => ({ size: Math.abs(values[index(flat)]!), error: errorAt(errors, index(flat)) });
    };
    const [a, b] = [side(inputs.a!), side(inputs.b!)];
    return [boundEach(out, (i) => rule(a(i), b(i), Math.abs(y[i]!)))];
  };
}

/** One rounding here and one in the reference, should a fused step before it have kept more bits. */
const addBound = binaryBound((a, b, y) => a.error + b.error + 2 * unit * y);

/** (a + ea)(b + eb) - ab. */
const multiplyBound = binaryBound(
  (a, b, y) => a.size * b.error + b.size * a.error + a.error * b.error + 2 * unit * y,
);

function scaleBound({ inputs, attributes, outputs }: BoundContext): Errors[] {
  const y = outputs[0]!.floats;
  const factor = Math.abs(attributes.factor as number);
  // The factor is a double; a device may round it to f32.
  return [boundEach(outputs[0]!, (i) => factor * errorAt(inputs.x!.errors, i) + 3 * unit * Math.abs(y[i]!))];
}

/** A sum of n and a division. */
function meanBound({ inputs, outputs }: BoundContext): Errors[] {
  const { tensor, errors } = inputs.x!;
  const n = tensor.shape[0]!;
  const x = tensor.floats;
  const inner = outputs[0]!.elements;
  return [
    boundEach(outputs[0]!, (i) => {
      let [size, carried] = [0, 0];
      for (let k = 0; k < n; k++) {
        size += Math.abs(x[k * inner + i]!);
        carried += errorAt(errors, k * inner + i);
      }
      return (carried + gamma(n + 2) * size) / n;
    }),
  ];
}

type Binary = 'add' | 'multiply';

function binaryCase(
  op: Binary,
  a: readonly Dim[],
  b: readonly Dim[],
  rows?: number,
  fill: Fill = normal,
): Case {
  const name = `${op} [${a.join(', ')}] and [${b.join(', ')}]${fill === wide ? ' over many magnitudes' : ''}`;
  return {
    name,
    op,
    ...(rows === undefined ? {} : { rows }),
    make(batch) {
      const sketch = new Sketch(name, batch);
      sketch.output('y', sketch.builder[op](sketch.input('a', a, fill), sketch.input('b', b, fill)));
      return sketch.problem();
    },
  };
}

/** A bias or a learned scale, straight from the checkpoint. */
function weightCase(op: Binary, dtype: DType): Case {
  const name = `${op} with a weight of ${dtype}`;
  return {
    name,
    op,
    rows: 5,
    make(batch) {
      const sketch = new Sketch(name, batch);
      const x = sketch.input('x', ['tokens', 61]);
      sketch.output('y', sketch.builder[op](x, sketch.weight('w', dtype, [61])));
      return sketch.problem();
    },
  };
}

function selfCase(op: Binary): Case {
  const name = `${op} of a value with itself`;
  return {
    name,
    op,
    rows: 3,
    make(batch) {
      const sketch = new Sketch(name, batch);
      const x = sketch.input('x', ['tokens', 31]);
      sketch.output('y', sketch.builder[op](x, x));
      return sketch.problem();
    },
  };
}

const specials = [NaN, Infinity, -Infinity, 0, -0, 1, 3e38];

function specialsCase(op: Binary): Case {
  const name = `${op} of special values`;
  return {
    name,
    op,
    promise:
      'IEEE 754: NaN with anything, infinity minus infinity and zero times infinity are NaN; overflow is infinite.',
    make() {
      const sketch = new Sketch(name);
      const a = sketch.given('a', 'f32', [specials.length, 1], specials);
      const b = sketch.given('b', 'f32', [1, specials.length], specials);
      sketch.output('y', sketch.builder[op](a, b));
      return sketch.problem();
    },
  };
}

function unaryCase(
  op: 'scale' | 'mean',
  label: string,
  shape: readonly Dim[],
  rows: number,
  apply: (sketch: Sketch, x: Value) => Value,
): Case {
  const name = `${op} ${label}`;
  return {
    name,
    op,
    rows,
    make(batch) {
      const sketch = new Sketch(name, batch);
      sketch.output('y', apply(sketch, sketch.input('x', shape)));
      return sketch.problem();
    },
  };
}

function binaryCases(op: Binary): Case[] {
  return [
    binaryCase(op, ['tokens', 67], ['tokens', 67], 7),
    binaryCase(op, ['tokens', 131], ['tokens', 131], 3, wide),
    binaryCase(op, ['tokens', 31], [31], 5),
    binaryCase(op, [31], ['tokens', 31], 5),
    binaryCase(op, ['tokens', 3, 17], ['tokens', 1, 17], 3),
    binaryCase(op, ['tokens', 13], ['tokens', 1], 7),
    binaryCase(op, [4, 'tokens', 19], ['tokens', 19], 3),
    binaryCase(op, [5, 1, 7], [1, 3, 1]),
    binaryCase(op, [2, 3], [1]),
    weightCase(op, 'f32'),
    weightCase(op, 'f16'),
    weightCase(op, 'bf16'),
    selfCase(op),
    specialsCase(op),
  ];
}

function binarySuite(op: Binary, bound: OpSuite['bound']): OpSuite {
  return {
    bound,
    cases: ({ dtypes }) =>
      binaryCases(op).filter(({ name }) => {
        const weight = /weight of (\w+)/.exec(name)?.[1];
        return weight === undefined || (dtypes.weights as readonly string[]).includes(weight);
      }),
    benchmarks: () => [binaryCase(op, ['tokens', 2048], ['tokens', 2048], 64)],
  };
}

export const addSuite = binarySuite('add', addBound);
export const multiplySuite = binarySuite('multiply', multiplyBound);

export const scaleSuite: OpSuite = {
  bound: scaleBound,
  cases: () => [
    unaryCase('scale', 'by an irrational', ['tokens', 61], 7, ({ builder }, x) =>
      builder.scale(x, Math.SQRT1_2),
    ),
    unaryCase('scale', 'by zero', ['tokens', 3, 5], 2, ({ builder }, x) => builder.scale(x, 0)),
    unaryCase('scale', 'by minus three', [2, 'tokens', 7], 3, ({ builder }, x) => builder.scale(x, -3)),
  ],
  benchmarks: () => [
    unaryCase('scale', '64x2048', ['tokens', 2048], 64, ({ builder }, x) => builder.scale(x, 0.5)),
  ],
};

export const meanSuite: OpSuite = {
  bound: meanBound,
  cases: () => [
    unaryCase('mean', 'of four streams', [4, 'tokens', 67], 3, ({ builder }, x) => builder.mean(x)),
    unaryCase('mean', 'of one', [1, 'tokens', 13], 2, ({ builder }, x) => builder.mean(x)),
    unaryCase('mean', 'of 31 vectors', [31, 'tokens', 5], 7, ({ builder }, x) => builder.mean(x)),
  ],
  benchmarks: () => [
    unaryCase('mean', '4x64x2048', [4, 'tokens', 2048], 64, ({ builder }, x) => builder.mean(x)),
  ],
};
