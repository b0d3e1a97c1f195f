/** segmentMean and accumulateSquares: sums over rows, of each sequence and of all. */
import { HostTensor, type ErrorCode } from '@unicorn-exec/tensor';
import { normal, outlierColumns, Sketch, wide, type Case, type Fill } from '../case.js';
import { Random } from '../random.js';
import { boundEach, errorAt, type Errors } from '../bound.js';
import { gamma, type BoundContext } from '../tolerance.js';
import type { OpSuite } from './suite.js';

/** A sum of n and a division. */
function segmentMeanBound({ inputs, outputs }: BoundContext): Errors[] {
  const { tensor, errors } = inputs.x!;
  const { columns, floats, rows } = tensor;
  const starts = inputs.starts!.tensor.integers;
  return [
    boundEach(outputs[0]!, (i) => {
      const [segment, column] = [Math.floor(i / columns), i % columns];
      const [begin, end] = [starts[segment]!, starts[segment + 1] ?? rows];
      let [size, carried] = [0, 0];
      for (let at = begin * columns + column; at < end * columns; at += columns) {
        size += Math.abs(floats[at]!);
        carried += errorAt(errors, at);
      }
      return begin === end ? 0 : (carried + gamma(end - begin + 2) * size) / (end - begin);
    }),
  ];
}

/** x^2 is off by 2 |x| e + e^2; a sum of rows + 1 terms with a rounding of each square. */
function accumulateSquaresBound({ inputs, outputs }: BoundContext): Errors[] {
  const { tensor, errors } = inputs.x!;
  const { columns, floats, rows } = tensor;
  const after = outputs[0]!.floats;
  return [
    boundEach(outputs[0]!, (column) => {
      let [squares, carried] = [0, errorAt(inputs.state!.errors, column)];
      for (let at = column; at < rows * columns; at += columns) {
        const [x, e] = [Math.abs(floats[at]!), errorAt(errors, at)];
        squares += x * x;
        carried += 2 * x * e + e * e;
      }
      const before = Math.abs(after[column]! - squares);
      return carried + gamma(rows + 2) * (before + squares + carried);
    }),
  ];
}

interface MeanShape {
  readonly rows: number;
  readonly features: number;
  readonly starts: readonly number[];
  readonly fill?: Fill;
}

function meanCase(label: string, { rows, features, starts, fill }: MeanShape, rejects?: ErrorCode): Case {
  const name = `segmentMean ${label}`;
  return {
    name,
    op: 'segmentMean',
    ...(rejects ? { rejects } : {}),
    make() {
      const sketch = new Sketch(name, [], { rows, sequences: starts.length });
      const x = sketch.input('x', ['rows', features], fill);
      sketch.output('y', sketch.builder.segmentMean(x, sketch.given('starts', 'i32', ['sequences'], starts)));
      return sketch.problem();
    },
  };
}

/** The end of an embedding model: norm and mean, with another reader of what the norm reads. */
function pooledCase(): Case {
  const name = 'segmentMean behind a norm';
  return {
    name,
    op: 'segmentMean',
    make() {
      const sketch = new Sketch(name, [], { rows: 19, sequences: 4 });
      const { builder } = sketch;
      const x = sketch.input('x', ['rows', 67]);
      const normed = builder.rmsNorm(x, sketch.weight('norm', 'f32', [67]), { epsilon: 1e-6 });
      const starts = sketch.given('starts', 'i32', ['sequences'], [0, 7, 7, 18]);
      sketch.output('pooled', builder.segmentMean(builder.add(normed, x), starts));
      sketch.output('normed', normed);
      return sketch.problem();
    },
  };
}

interface SquaresShape {
  readonly rows: number;
  readonly columns: number;
  readonly fill?: Fill;
  /** Two nodes that add to the same state in one graph. */
  readonly twice?: boolean;
}

function squaresCase(label: string, { rows, columns, fill = normal, twice = false }: SquaresShape): Case {
  const name = `accumulateSquares ${label}`;
  return {
    name,
    op: 'accumulateSquares',
    make() {
      const sketch = new Sketch(name, [], { rows });
      const { builder } = sketch;
      const random = new Random(`state ${name}`);
      const before = Float32Array.from({ length: columns }, () => 10 * random.uniform());
      const state = sketch.state('squares', [columns], HostTensor.f32([columns], before));
      const x = sketch.input('x', ['rows', columns], fill);
      const once = builder.accumulateSquares(state, x);
      if (twice) builder.accumulateSquares(once, builder.scale(x, 2));
      return sketch.problem();
    },
  };
}

export const segmentMeanSuite: OpSuite = {
  bound: segmentMeanBound,
  cases: () => [
    meanCase('of one segment', { rows: 13, features: 67, starts: [0] }),
    meanCase('of several, one of a row', { rows: 31, features: 13, starts: [0, 5, 6, 23] }),
    meanCase('of empty segments', { rows: 7, features: 37, starts: [0, 0, 3, 7, 7] }),
    meanCase('of no rows', { rows: 0, features: 5, starts: [0, 0] }),
    meanCase('of no segments', { rows: 3, features: 5, starts: [] }),
    meanCase('of one feature', { rows: 97, features: 1, starts: [0, 41] }),
    meanCase('over many magnitudes', { rows: 211, features: 33, starts: [0, 2, 100], fill: wide }),
    pooledCase(),
    meanCase('of starts that fall', { rows: 7, features: 5, starts: [0, 4, 3] }, 'usage/starts'),
    meanCase('of a start past the rows', { rows: 7, features: 5, starts: [0, 8] }, 'usage/starts'),
    meanCase('of a negative start', { rows: 7, features: 5, starts: [-1, 3] }, 'usage/starts'),
  ],
  benchmarks: () => [meanCase('4 of 128 rows', { rows: 512, features: 2048, starts: [0, 128, 256, 384] })],
};

export const accumulateSquaresSuite: OpSuite = {
  bound: accumulateSquaresBound,
  cases: () => [
    squaresCase('of one row', { rows: 1, columns: 67 }),
    squaresCase('of no rows', { rows: 0, columns: 31 }),
    squaresCase('of 37 rows', { rows: 37, columns: 521, fill: outlierColumns }),
    squaresCase('of one column', { rows: 103, columns: 1 }),
    squaresCase('over many magnitudes', { rows: 19, columns: 33, fill: wide }),
    squaresCase('twice', { rows: 7, columns: 61, twice: true }),
  ],
  benchmarks: () => [squaresCase('512x2048', { rows: 512, columns: 2048 })],
};
