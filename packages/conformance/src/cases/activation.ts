/** activation, glu, softcap, gaussianTopK: nonlinear functions of one element or one row. */
import type { ActivationKind } from '@unicorn-exec/tensor';
import { normal, Sketch, spiky, type Case, type Fill } from '../case.js';
import { boundEach, errorAt, type Errors } from '../bound.js';
import { functionUnits, gamma, unit, type BoundContext } from '../tolerance.js';
import { sumRow, type OpSuite } from './suite.js';

interface FunctionBound {
  /** Largest |f'|: what an error of the operand can become. */
  readonly slope: number;
  /** Error of evaluating f(x) in f32. */
  readonly own: (x: number, y: number) => number;
}

/**
 * - silu, x / (1 + exp(-x)): |x| times a sigmoid, whose functionUnits are relative to at most 1; steepest 1.0998.
 * - geluTanh, 0.5 x (1 + tanh(...)): 1 + tanh cancels for negative x, so the error is relative to |x|; the argument's
 *   roundings are relative to it and tanh' z z <= 0.45, which twice functionUnits cover; steepest 1.129.
 * - tanh may be made of exp(2x): cancels near 0, so the error is relative to 1.
 * - relu is exact.
 */
const functionBounds: Record<ActivationKind, FunctionBound> = {
  silu: { slope: 1.1, own: (x, y) => functionUnits * unit * Math.abs(x) + unit * Math.abs(y) },
  geluTanh: { slope: 1.13, own: (x, y) => 2 * functionUnits * unit * Math.abs(x) + unit * Math.abs(y) },
  relu: { slope: 1, own: () => 0 },
  tanh: { slope: 1, own: () => functionUnits * unit },
  sigmoid: { slope: 0.25, own: () => functionUnits * unit },
};

const kinds = Object.keys(functionBounds) as ActivationKind[];

/** |x| with infinities taken as the f32 maximum, so that a bound stays a number. */
function finite(x: number): number {
  return Number.isFinite(x) ? x : 0;
}

function activationBound({ inputs, attributes, outputs }: BoundContext): Errors[] {
  const { slope, own } = functionBounds[attributes.kind as ActivationKind];
  const { tensor, errors } = inputs.x!;
  const x = tensor.floats;
  const y = outputs[0]!.floats;
  if (!errors && attributes.kind === 'relu') return [undefined];
  return [boundEach(tensor, (i) => slope * errorAt(errors, i) + own(finite(x[i]!), finite(y[i]!)))];
}

/** y = f(g) u: the product rule, with the two roundings of f(g) and of the product. */
function gluBound({ inputs, attributes, outputs }: BoundContext): Errors[] {
  const { slope, own } = functionBounds[attributes.kind as ActivationKind];
  const [gate, up] = [inputs.gate!, inputs.up!];
  const [g, u] = [gate.tensor.floats, up.tensor.floats];
  const y = outputs[0]!.floats;
  return [
    boundEach(gate.tensor, (i) => {
      // |f(g)| <= max(|g|, 1) for each of the functions.
      const size = Math.max(Math.abs(g[i]!), 1);
      const moved = slope * errorAt(gate.errors, i) + own(finite(g[i]!), finite(g[i]!));
      const upError = errorAt(up.errors, i);
      return moved * (Math.abs(u[i]!) + upError) + size * upError + 2 * unit * Math.abs(finite(y[i]!));
    }),
  ];
}

/** cap tanh(x / cap): slope 1, and tanh's error relative to 1 times the cap. */
function softcapBound({ inputs, attributes }: BoundContext): Errors[] {
  const cap = attributes.cap as number;
  const { tensor, errors } = inputs.x!;
  return [boundEach(tensor, (i) => errorAt(errors, i) + (functionUnits + 2) * unit * cap)];
}

/**
 * y = max(x - c, 0) with c = mean + d std, slope 1 in x and c. The mean is off by gamma(n) mean|x|; two-pass variance is
 * relatively off by gamma(n + 3), its root by half of it plus functionUnits, and a mean off by m moves the deviation by
 * at most m. Operands' errors move the mean by their mean and the deviation by their root mean square (a norm).
 */
function gaussianTopKBound({ inputs, attributes }: BoundContext): Errors[] {
  const { tensor, errors } = inputs.x!;
  const x = tensor.floats;
  const n = tensor.columns;
  const d = Math.abs(attributes.deviations as number);
  const bounds = new Float64Array(x.length);
  for (let row = 0; row < tensor.rows; row++) {
    const mean = sumRow(tensor, row, (i) => x[i]!) / n;
    const size = sumRow(tensor, row, (i) => Math.abs(x[i]!)) / n;
    const deviation = Math.sqrt(sumRow(tensor, row, (i) => (x[i]! - mean) ** 2) / n);
    const carried = sumRow(tensor, row, (i) => errorAt(errors, i)) / n;
    const carriedDeviation = Math.sqrt(sumRow(tensor, row, (i) => errorAt(errors, i) ** 2) / n);
    const meanError = gamma(n + 1) * size;
    const deviationError = (gamma(n + 3) / 2 + functionUnits * unit) * deviation + meanError;
    const cut = Math.abs(mean) + d * deviation;
    const cutError = meanError + carried + d * (deviationError + carriedDeviation) + 3 * unit * cut;
    for (let i = row * n; i < (row + 1) * n; i++) {
      bounds[i] = errorAt(errors, i) + cutError + 2 * unit * (Math.abs(x[i]!) + cut);
    }
  }
  return [bounds];
}

function activationCase(
  kind: ActivationKind,
  rows: number,
  features: number,
  fill: Fill,
  label: string,
): Case {
  const name = `activation ${kind} ${rows}x${features} ${label}`;
  return {
    name,
    op: 'activation',
    rows,
    make(batch) {
      const sketch = new Sketch(name, batch);
      sketch.output('y', sketch.builder.activation(sketch.input('x', ['tokens', features], fill), kind));
      return sketch.problem();
    },
  };
}

/** Where exp overflows f32 (88.7), where it underflows (-103.9), and far beyond. */
const extremes = [0, -0, 1e-8, 88, 89, -88, -89, -104, 1e4, -1e4, 1e30, -1e30];

function extremeCase(kind: ActivationKind): Case {
  const limits: Record<ActivationKind, readonly number[]> = {
    // x times a function that vanishes has no value at minus infinity: nothing is promised there.
    silu: [Infinity, NaN],
    geluTanh: [Infinity, NaN],
    relu: [Infinity, -Infinity, NaN],
    tanh: [Infinity, -Infinity, NaN],
    sigmoid: [Infinity, -Infinity, NaN],
  };
  const values = [...extremes, ...limits[kind]];
  return {
    name: `activation ${kind} of extremes`,
    op: 'activation',
    promise: 'Large arguments give the limit, never NaN; NaN gives NaN.',
    make() {
      const sketch = new Sketch(`activation ${kind} of extremes`);
      const x = sketch.given('x', 'f32', [values.length], values);
      sketch.output('y', sketch.builder.activation(x, kind));
      return sketch.problem();
    },
  };
}

function gluCase(kind: ActivationKind, rows: number, features: number, fill: Fill, label: string): Case {
  const name = `glu ${kind} ${rows}x${features} ${label}`;
  return {
    name,
    op: 'glu',
    rows,
    make(batch) {
      const sketch = new Sketch(name, batch);
      const gate = sketch.input('gate', ['tokens', features], fill);
      const up = sketch.input('up', ['tokens', features], fill);
      sketch.output('y', sketch.builder.glu(gate, up, kind));
      return sketch.problem();
    },
  };
}

function softcapCase(rows: number, features: number, cap: number): Case {
  const name = `softcap ${rows}x${features} at ${cap}`;
  return {
    name,
    op: 'softcap',
    rows,
    make(batch) {
      const sketch = new Sketch(name, batch);
      const x = sketch.input('x', ['tokens', features], (random) => random.normal() * 2 * cap);
      sketch.output('y', sketch.builder.softcap(x, cap));
      return sketch.problem();
    },
  };
}

function softcapLimitsCase(): Case {
  const values = [Infinity, -Infinity, NaN, 1e30, -1e30, 0, 1e-20];
  return {
    name: 'softcap of extremes',
    op: 'softcap',
    promise: 'Infinities give the cap, NaN gives NaN.',
    make() {
      const sketch = new Sketch('softcap of extremes');
      const x = sketch.given('x', 'f32', [values.length], values);
      sketch.output('y', sketch.builder.softcap(x, 30));
      return sketch.problem();
    },
  };
}

function topKCase(rows: number, features: number, deviations: number, fill: Fill = normal): Case {
  const name = `gaussianTopK ${rows}x${features} at ${deviations}${fill === normal ? '' : ' spiky'}`;
  return {
    name,
    op: 'gaussianTopK',
    rows,
    make(batch) {
      const sketch = new Sketch(name, batch);
      const x = sketch.input('x', ['tokens', features], fill);
      sketch.output('y', sketch.builder.gaussianTopK(x, deviations));
      return sketch.problem();
    },
  };
}

function poisonedTopKCase(): Case {
  const name = 'gaussianTopK with NaN in a row';
  return {
    name,
    op: 'gaussianTopK',
    promise: 'A NaN spoils its own row, and no other.',
    make() {
      const sketch = new Sketch(name);
      sketch.output('y', sketch.builder.gaussianTopK(sketch.input('x', [3, 29]), 0.5));
      const problem = sketch.problem();
      problem.tensors.x!.floats[29] = NaN;
      return problem;
    },
  };
}

export const activationSuite: OpSuite = {
  bound: activationBound,
  cases: () =>
    kinds.flatMap((kind) => [
      activationCase(kind, 7, 61, (random) => random.normal() * 4, 'normal'),
      activationCase(kind, 1, 1, normal, 'alone'),
      extremeCase(kind),
    ]),
  benchmarks: () => [activationCase('geluTanh', 64, 8192, normal, 'normal')],
};

export const gluSuite: OpSuite = {
  bound: gluBound,
  cases: () =>
    kinds.flatMap((kind) => [gluCase(kind, 5, 67, normal, 'normal'), gluCase(kind, 3, 131, spiky, 'spiky')]),
  benchmarks: () => [gluCase('silu', 64, 8192, normal, 'normal')],
};

export const softcapSuite: OpSuite = {
  bound: softcapBound,
  cases: () => [softcapCase(7, 31, 30), softcapCase(1, 257, 0.5), softcapLimitsCase()],
  benchmarks: () => [softcapCase(1, 262_144, 30)],
};

export const gaussianTopKSuite: OpSuite = {
  bound: gaussianTopKBound,
  cases: () => [
    topKCase(7, 61, 1.6448536),
    topKCase(3, 257, 0, spiky),
    topKCase(2, 67, -1),
    poisonedTopKCase(),
  ],
  benchmarks: () => [topKCase(64, 16_384, 1.6448536)],
};
