/** reshape, slice, concat, takeRows: bits that move. */
import { findOp, HostTensor, type Dim } from '@unicorn-exec/tensor';
import { below, normal, Sketch, type Case } from '../case.js';
import type { Errors } from '../bound.js';
import type { BoundContext, BoundRule } from '../tolerance.js';
import type { OpSuite } from './suite.js';

type Element = 'f32' | 'i32';

/** Nothing is computed: the errors move as the elements do, by the op itself. */
export function movedErrors(opName: string, moved: (name: string) => boolean): BoundRule {
  return ({ inputs, attributes, outputs }: BoundContext): Errors[] => {
    const sources = Object.entries(inputs).filter(([name]) => moved(name));
    if (sources.every(([, { errors }]) => errors === undefined)) return [undefined];
    const operands = Object.entries(inputs).map(([name, { tensor, errors }]): [string, HostTensor] => {
      if (!moved(name)) return [name, tensor];
      // Rounded up to f32, which a bound may be.
      const values = errors
        ? errors.map((error) => error * (1 + 2 ** -20))
        : new Float64Array(tensor.elements);
      return [name, HostTensor.f32(tensor.shape, values)];
    });
    const result = HostTensor.zeros('f32', outputs[0]!.shape);
    findOp(opName).evaluate({ inputs: Object.fromEntries(operands), attributes, outputs: [result] });
    return [Float64Array.from(result.floats)];
  };
}

function declare(sketch: Sketch, name: string, dtype: Element, shape: readonly Dim[]) {
  return dtype === 'f32' ? sketch.input(name, shape, normal) : sketch.integers(name, shape, below(2 ** 31));
}

function reshapeCase(dtype: Element, from: readonly Dim[], to: readonly Dim[], rows: number): Case {
  const name = `reshape ${dtype} [${from.join(', ')}] to [${to.join(', ')}]`;
  return {
    name,
    op: 'reshape',
    rows,
    make(batch) {
      const sketch = new Sketch(name, batch);
      sketch.output('y', sketch.builder.reshape(declare(sketch, 'x', dtype, from), to));
      return sketch.problem();
    },
  };
}

function sliceCase(dtype: Element, shape: readonly Dim[], axis: number, start: number, count: number): Case {
  const name = `slice ${dtype} [${shape.join(', ')}] axis ${axis} ${start}+${count}`;
  return {
    name,
    op: 'slice',
    rows: 3,
    make(batch) {
      const sketch = new Sketch(name, batch);
      sketch.output('y', sketch.builder.slice(declare(sketch, 'x', dtype, shape), axis, start, count));
      return sketch.problem();
    },
  };
}

function concatCase(dtype: Element, shapes: readonly (readonly Dim[])[], axis: number): Case {
  const name = `concat ${dtype} ${shapes.map((shape) => `[${shape.join(', ')}]`).join(' ')} axis ${axis}`;
  return {
    name,
    op: 'concat',
    rows: 3,
    make(batch) {
      const sketch = new Sketch(name, batch);
      const parts = shapes.map((shape, i) => declare(sketch, `part${i}`, dtype, shape));
      sketch.output('y', sketch.builder.concat(parts, axis));
      return sketch.problem();
    },
  };
}

function takeRowsCase(
  dtype: Element,
  shape: readonly number[],
  axis: number,
  rows: readonly number[],
  extra: Partial<Case> = {},
): Case {
  const picked = rows.length > 0 ? rows.join(' ') : 'none';
  const name = `takeRows ${dtype} [${shape.join(', ')}] axis ${axis} rows ${picked}`;
  return {
    name,
    op: 'takeRows',
    ...extra,
    make() {
      const sketch = new Sketch(name, [], { outputs: rows.length });
      const x = declare(sketch, 'x', dtype, shape);
      const index = sketch.given('rows', 'i32', ['outputs'], rows);
      sketch.output('y', sketch.builder.takeRows(x, index, axis));
      return sketch.problem();
    },
  };
}

/** The rows that stay are those that a step's head reads. */
function takeThenMatmulCase(): Case {
  const name = 'takeRows before a matmul';
  return {
    name,
    op: 'takeRows',
    make() {
      const sketch = new Sketch(name, [], { outputs: 2 });
      const rows = sketch.given('rows', 'i32', ['outputs'], [1, 4]);
      const taken = sketch.builder.takeRows(sketch.input('x', [5, 64]), rows);
      sketch.output('y', sketch.builder.matmul(taken, sketch.weight('w', 'f32', [31, 64])));
      return sketch.problem();
    },
  };
}

const elements: readonly Element[] = ['f32', 'i32'];
const onlyX = (name: string): boolean => name === 'x';

export const reshapeSuite: OpSuite = {
  bound: movedErrors('reshape', onlyX),
  cases: () =>
    elements.flatMap((dtype) => [
      reshapeCase(dtype, ['tokens', 15], ['tokens', 3, 5], 7),
      reshapeCase(dtype, ['tokens', 3, 5], ['tokens', 15], 7),
      reshapeCase(dtype, ['tokens', 7], ['tokens', 1, 7], 2),
    ]),
  benchmarks: () => [reshapeCase('f32', ['tokens', 2048], ['tokens', 16, 128], 64)],
};

export const sliceSuite: OpSuite = {
  bound: movedErrors('slice', onlyX),
  cases: () =>
    elements.flatMap((dtype) => [
      sliceCase(dtype, ['tokens', 17], 1, 0, 5),
      sliceCase(dtype, ['tokens', 17], 1, 12, 5),
      sliceCase(dtype, ['tokens', 5, 7], 1, 3, 1),
      sliceCase(dtype, ['tokens', 5, 7], 2, 1, 6),
      sliceCase(dtype, [4, 'tokens', 7], 0, 1, 3),
    ]),
  benchmarks: () => [sliceCase('f32', ['tokens', 6144], 1, 2048, 2048)],
};

export const concatSuite: OpSuite = {
  bound: movedErrors('concat', () => true),
  cases: () =>
    elements.flatMap((dtype) => [
      concatCase(
        dtype,
        [
          ['tokens', 3],
          ['tokens', 7],
          ['tokens', 1],
        ],
        1,
      ),
      concatCase(
        dtype,
        [
          [1, 'tokens', 5],
          [2, 'tokens', 5],
        ],
        0,
      ),
      concatCase(
        dtype,
        [
          ['tokens', 2, 3],
          ['tokens', 5, 3],
        ],
        1,
      ),
      concatCase(dtype, [['tokens', 11]], 1),
      // Eleven parts: the order is numeric, not that of text.
      concatCase(
        dtype,
        Array.from({ length: 11 }, (_, i) => ['tokens', i + 1]),
        1,
      ),
    ]),
  benchmarks: () => [
    concatCase(
      'f32',
      [
        ['tokens', 2048],
        ['tokens', 2048],
      ],
      1,
    ),
  ],
};

export const takeRowsSuite: OpSuite = {
  bound: movedErrors('takeRows', onlyX),
  cases: () => [
    ...elements.flatMap((dtype) => [
      takeRowsCase(dtype, [7, 13], 0, [2, 3, 6]),
      takeRowsCase(dtype, [7, 13], 0, [6, 0, 0]),
      takeRowsCase(dtype, [4, 5, 3], 1, [4, 1]),
      takeRowsCase(dtype, [5, 3], 0, []),
      takeRowsCase(dtype, [3, 7], 1, [6, 2]),
    ]),
    takeThenMatmulCase(),
    takeRowsCase('f32', [3, 7], 0, [1, 3], { rejects: 'usage/row' }),
    takeRowsCase('f32', [3, 7], 0, [-1], { rejects: 'usage/row' }),
  ],
  benchmarks: () => [takeRowsCase('f32', [512, 2048], 0, [511])],
};
