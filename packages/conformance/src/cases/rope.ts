/** Rope: both layouts, partial rotation, large positions. */
import { Sketch, type Case } from '../case.js';
import { boundEach, errorAt, type Errors } from '../bound.js';
import { functionUnits, gamma, type BoundContext } from '../tolerance.js';
import type { OpSuite } from './suite.js';

/**
 * a' = a c - b s: the angle is the f32 product of position and frequency on every device, so sine and cosine differ by
 * functionUnits of at most 1; two products, a sum, the magnitude's product and the reference's roundings make 5 more.
 * Operands' errors turn with the pair: at most (ea + eb) times the magnitude.
 */
function bound({ inputs, attributes }: BoundContext): Errors[] {
  const { tensor, errors } = inputs.x!;
  const pairs = inputs.frequencies!.tensor.columns;
  const x = tensor.floats;
  const headDim = tensor.columns;
  const magnitude = Math.abs(attributes.magnitude as number);
  const partner = (i: number): number => {
    const at = i % headDim;
    if (at >= 2 * pairs) return i;
    if (attributes.layout === 'interleaved') return at % 2 === 0 ? i + 1 : i - 1;
    return at < pairs ? i + pairs : i - pairs;
  };
  return [
    boundEach(tensor, (i) => {
      const other = partner(i);
      if (other === i) return errorAt(errors, i);
      const size = Math.abs(x[i]!) + Math.abs(x[other]!);
      return magnitude * (gamma(functionUnits + 5) * size + errorAt(errors, i) + errorAt(errors, other));
    }),
  ];
}

interface RopeShape {
  readonly rows: number;
  readonly heads: number;
  readonly headDim: number;
  readonly pairs: number;
  readonly layout: 'half' | 'interleaved';
  readonly magnitude?: number;
  /** Positions lie below. */
  readonly reach?: number;
}

/** theta^(-i / pairs), as published checkpoints have it. */
export function ropeFrequencies(pairs: number, theta = 10_000): Float32Array {
  return Float32Array.from({ length: pairs }, (_, i) => theta ** (-i / pairs));
}

function ropeCase({ rows, heads, headDim, pairs, layout, magnitude = 1, reach = 100 }: RopeShape): Case {
  const parts = [`rope ${layout} ${rows}x${heads}x${headDim}`, `${pairs} pairs`, `positions below ${reach}`];
  const name = [...parts, ...(magnitude === 1 ? [] : [`magnitude ${magnitude}`])].join(' ');
  return {
    name,
    op: 'rope',
    rows,
    make(batch) {
      const sketch = new Sketch(name, batch);
      const x = sketch.input('x', ['tokens', heads, headDim]);
      const positions = sketch.integers('positions', ['tokens'], (random) => random.integer(reach));
      const frequencies = sketch.builder.constant(ropeFrequencies(pairs));
      sketch.output('y', sketch.builder.rope(x, positions, frequencies, { layout, magnitude }));
      return sketch.problem();
    },
  };
}

/** Position 0 turns nothing, so there a NaN shows exactly which elements pair. */
function poisonedCase(layout: 'half' | 'interleaved'): Case {
  const name = `rope ${layout} with NaN in a pair`;
  return {
    name,
    op: 'rope',
    promise: 'A NaN spoils its own pair, and no other element.',
    make() {
      const sketch = new Sketch(name);
      const x = sketch.input('x', [2, 3, 10]);
      const positions = sketch.given('positions', 'i32', [2], [5, 7]);
      const frequencies = sketch.builder.constant(ropeFrequencies(4));
      sketch.output('y', sketch.builder.rope(x, positions, frequencies, { layout }));
      const problem = sketch.problem();
      problem.tensors.x!.floats[10 + 3] = NaN;
      return problem;
    },
  };
}

const layouts = ['half', 'interleaved'] as const;

export const ropeSuite: OpSuite = {
  bound,
  cases: () => [
    ...layouts.flatMap((layout) => [
      ropeCase({ rows: 1, heads: 1, headDim: 2, pairs: 1, layout }),
      ropeCase({ rows: 7, heads: 3, headDim: 34, pairs: 17, layout }),
      ropeCase({ rows: 3, heads: 5, headDim: 64, pairs: 32, layout, reach: 131_072 }),
      ropeCase({ rows: 5, heads: 2, headDim: 22, pairs: 7, layout }),
      ropeCase({ rows: 2, heads: 2, headDim: 16, pairs: 8, layout, magnitude: 1.25 }),
    ]),
    ...layouts.map(poisonedCase),
  ],
  benchmarks: () => [ropeCase({ rows: 64, heads: 16, headDim: 128, pairs: 64, layout: 'half', reach: 8192 })],
};
