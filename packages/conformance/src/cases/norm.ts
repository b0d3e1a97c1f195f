/** rmsNorm and matchRms. */
import type { DeviceInfo, DType } from '@unicorn-exec/tensor';
import { normal, Sketch, spiky, wide, type Case, type Fill } from '../case.js';
import { errorAt, type Errors } from '../bound.js';
import { functionUnits, gamma, unit, type BoundContext } from '../tolerance.js';
import { sumRow, type OpSuite } from './suite.js';

/**
 * y = x r g with r = (m + epsilon)^-1/2, m the mean square, g = offset + weight.
 * - m is a sum of n squares, a division and an addition: relatively off by gamma(n + 3). The root halves that, and a
 *   reciprocal root adds its functionUnits; two products and the offset add 3 roundings, the reference's store one.
 * - x off by e moves m by at most D = (2 sum |x| e + sum e^2) / n, hence r relatively by at most
 *   D / (2 (m + epsilon - D)), since r is convex, and moves y by |r g| e besides.
 */
function rmsNormBound({ inputs, attributes, outputs }: BoundContext): Errors[] {
  const { tensor, errors } = inputs.x!;
  const x = tensor.floats;
  const y = outputs[0]!.floats;
  const weight = inputs.weight?.tensor.toFloats();
  const n = tensor.columns;
  const rounding = gamma(n + 3) / 2 + (functionUnits + 4) * unit;
  const bounds = new Float64Array(x.length);
  for (let row = 0; row < tensor.rows; row++) {
    const square = sumRow(tensor, row, (i) => x[i]! ** 2) / n + (attributes.epsilon as number);
    const moved = sumRow(tensor, row, (i) => {
      const e = errorAt(errors, i);
      return (2 * Math.abs(x[i]!) + e) * e;
    });
    const drift = moved === 0 ? 0 : moved / n / (2 * Math.max(square - moved / n, square / 2 ** 10));
    for (let i = row * n; i < (row + 1) * n; i++) {
      const g = weight ? Math.abs((attributes.weightOffset as number) + weight[i - row * n]!) : 1;
      const offset = weight
        ? Math.abs(attributes.weightOffset as number) + Math.abs(weight[i - row * n]!)
        : 1;
      const r = 1 / Math.sqrt(square);
      bounds[i] =
        Math.abs(y[i]!) * (rounding + drift) +
        r * g * errorAt(errors, i) * (1 + drift) +
        // offset + weight may cancel: its rounding is relative to the result, but weight - 1 was stored rounded.
        unit * Math.abs(x[i]!) * r * offset;
    }
  }
  return [bounds];
}

/**
 * y = x f with f = rms(reference) / sqrt(max(mean x^2, floor)): two mean squares, each relatively off by gamma(n + 1),
 * under roots that halve it, two roots and a division of functionUnits together, two roundings. Operands' errors move
 * each root as in rmsNorm.
 */
function matchRmsBound({ inputs, attributes, outputs }: BoundContext): Errors[] {
  const [x, reference] = [inputs.x!, inputs.reference!];
  const { tensor } = x;
  const n = tensor.columns;
  const [values, wanted] = [tensor.floats, reference.tensor.floats];
  const y = outputs[0]!.floats;
  const bounds = new Float64Array(values.length);
  const drift = (of: Float32Array, errors: Errors, row: number, floor: number): number => {
    const square = Math.max(sumRow(tensor, row, (i) => of[i]! ** 2) / n, floor);
    const moved =
      sumRow(tensor, row, (i) => (2 * Math.abs(of[i]!) + errorAt(errors, i)) * errorAt(errors, i)) / n;
    return moved === 0 ? 0 : moved / (2 * Math.max(square - moved, square / 2 ** 10));
  };
  for (let row = 0; row < tensor.rows; row++) {
    const floor = attributes.floor as number;
    const own = Math.max(sumRow(tensor, row, (i) => values[i]! ** 2) / n, floor);
    const target = sumRow(tensor, row, (i) => wanted[i]! ** 2) / n;
    const relative =
      gamma(n + 1) +
      (functionUnits + 3) * unit +
      drift(values, x.errors, row, floor) +
      drift(wanted, reference.errors, row, 0);
    for (let i = row * n; i < (row + 1) * n; i++) {
      bounds[i] =
        Math.abs(y[i]!) * relative + Math.sqrt(target / own) * errorAt(x.errors, i) * (1 + relative);
    }
  }
  return [bounds];
}

interface NormShape {
  readonly rows: number;
  readonly features: number;
  readonly weight?: DType;
  readonly weightOffset?: number;
  readonly fill?: Fill;
  readonly label?: string;
}

function rmsNormCase({ rows, features, weight, weightOffset = 0, fill = normal, label }: NormShape): Case {
  const parts = [
    weight ? `weight ${weight}` : 'without weight',
    ...(weightOffset ? ['offset 1'] : []),
    ...(label ? [label] : []),
  ];
  const name = `rmsNorm ${rows}x${features} ${parts.join(' ')}`;
  return {
    name,
    op: 'rmsNorm',
    rows,
    make(batch) {
      const sketch = new Sketch(name, batch);
      const x = sketch.input('x', ['tokens', features], fill);
      const w = weight && sketch.weight('w', weight, [features]);
      sketch.output('y', sketch.builder.rmsNorm(x, w, { epsilon: 1e-6, weightOffset }));
      return sketch.problem();
    },
  };
}

function headNormCase(): Case {
  const name = 'rmsNorm of each head';
  return {
    name,
    op: 'rmsNorm',
    rows: 5,
    make(batch) {
      const sketch = new Sketch(name, batch);
      const x = sketch.input('x', ['tokens', 3, 16]);
      sketch.output('y', sketch.builder.rmsNorm(x, sketch.weight('w', 'f32', [16]), { epsilon: 1e-5 }));
      return sketch.problem();
    },
  };
}

function poisonedNormCase(): Case {
  const name = 'rmsNorm with NaN in a row';
  return {
    name,
    op: 'rmsNorm',
    promise: 'A NaN spoils its own row, and no other.',
    make() {
      const sketch = new Sketch(name);
      const x = sketch.input('x', [3, 37]);
      sketch.output('y', sketch.builder.rmsNorm(x, sketch.weight('w', 'f32', [37]), { epsilon: 1e-6 }));
      const problem = sketch.problem();
      problem.tensors.x!.floats[1 * 37 + 36] = NaN;
      return problem;
    },
  };
}

function matchRmsCase(rows: number, features: number, fill: Fill, label: string): Case {
  const name = `matchRms ${rows}x${features} ${label}`;
  return {
    name,
    op: 'matchRms',
    rows,
    make(batch) {
      const sketch = new Sketch(name, batch);
      const x = sketch.input('x', ['tokens', features], fill);
      const reference = sketch.input('reference', ['tokens', features], spiky);
      sketch.output('y', sketch.builder.matchRms(x, reference));
      return sketch.problem();
    },
  };
}

function streamsCase(): Case {
  const name = 'matchRms of streams';
  return {
    name,
    op: 'matchRms',
    rows: 3,
    make(batch) {
      const sketch = new Sketch(name, batch);
      const shape = [3, 'tokens', 19];
      const [x, reference] = [sketch.input('x', shape), sketch.input('reference', shape)];
      sketch.output('y', sketch.builder.matchRms(x, reference, { floor: 1e-4 }));
      return sketch.problem();
    },
  };
}

function poisonedStreamCase(): Case {
  const name = 'matchRms with NaN in a row';
  return {
    name,
    op: 'matchRms',
    promise: 'A NaN spoils its own row, and no other: it is not taken for less than the floor.',
    make() {
      const sketch = new Sketch(name);
      const [x, reference] = [sketch.input('x', [3, 37]), sketch.input('reference', [3, 37])];
      sketch.output('y', sketch.builder.matchRms(x, reference, { floor: 1e-4 }));
      const problem = sketch.problem();
      problem.tensors.x!.floats[1 * 37 + 36] = NaN;
      return problem;
    },
  };
}

function scalarWeights({ dtypes }: DeviceInfo): DType[] {
  return dtypes.weights.filter((dtype) => ['f32', 'f16', 'bf16'].includes(dtype));
}

export const rmsNormSuite: OpSuite = {
  bound: rmsNormBound,
  cases: (info) => [
    rmsNormCase({ rows: 1, features: 1 }),
    rmsNormCase({ rows: 7, features: 31 }),
    rmsNormCase({ rows: 3, features: 257, fill: wide, label: 'over many magnitudes' }),
    rmsNormCase({ rows: 3, features: 61, fill: () => 0, label: 'of zeros' }),
    // About the root of epsilon, where it counts.
    rmsNormCase({ rows: 5, features: 29, fill: (random) => random.normal() * 1e-3, label: 'small' }),
    ...scalarWeights(info).flatMap((weight) => [
      rmsNormCase({ rows: 5, features: 67, weight }),
      rmsNormCase({ rows: 2, features: 320, weight, fill: spiky, label: 'spiky' }),
      rmsNormCase({ rows: 3, features: 13, weight, weightOffset: 1 }),
    ]),
    headNormCase(),
    poisonedNormCase(),
  ],
  benchmarks: () => [rmsNormCase({ rows: 64, features: 2048, weight: 'f32' })],
};

export const matchRmsSuite: OpSuite = {
  bound: matchRmsBound,
  cases: () => [
    matchRmsCase(1, 1, normal, 'normal'),
    matchRmsCase(7, 67, normal, 'normal'),
    matchRmsCase(3, 131, wide, 'over many magnitudes'),
    matchRmsCase(3, 31, (random) => random.normal() * 1e-4, 'below the floor'),
    streamsCase(),
    poisonedStreamCase(),
  ],
  benchmarks: () => [matchRmsCase(64, 2048, normal, 'normal')],
};
