/** putRows: rows that take the place of others, in any order, at either end, none at all. */
import { Sketch, type Case } from '../case.js';
import { Random } from '../random.js';
import { movedErrors } from './layout.js';
import type { OpSuite } from './suite.js';

interface PutShape {
  readonly dtype: 'f32' | 'i32';
  readonly shape: readonly number[];
  readonly at: readonly number[];
}

function putRowsCase({ dtype, shape, at }: PutShape, extra: Partial<Case> = {}): Case {
  const name = `putRows ${dtype} [${shape.join(', ')}] at ${at.length > 0 ? at.join(' ') : 'none'}`;
  const [count, ...inner] = shape as [number, ...number[]];
  return {
    name,
    op: 'putRows',
    ...extra,
    make() {
      const sketch = new Sketch(name, [], { given: at.length, count });
      const declare = (tensor: string, dim: string) =>
        dtype === 'f32'
          ? sketch.input(tensor, [dim, ...inner])
          : sketch.integers(tensor, [dim, ...inner], (random) => random.bits() | 0);
      const x = declare('x', 'count');
      const rows = declare('rows', 'given');
      sketch.output('y', sketch.builder.putRows(x, rows, sketch.given('at', 'i32', ['given'], at)));
      return sketch.problem();
    },
  };
}

/** The use of models: every third row is given, the others are scaled embeddings. */
function afterEmbedCase(): Case {
  const name = 'putRows behind an embedding';
  const features = 67;
  return {
    name,
    op: 'putRows',
    rows: 7,
    make(batch) {
      const at = batch.flatMap((id, row) => (id % 3 === 0 ? [row] : []));
      const sketch = new Sketch(name, batch, { given: at.length });
      const { builder } = sketch;
      const values = at.flatMap((row) => {
        const random = new Random(`${name} row ${batch[row]}`);
        return Array.from({ length: features }, () => random.normal());
      });
      const ids = sketch.integers('ids', ['tokens'], (random) => random.integer(31));
      const embedded = builder.embed(ids, sketch.weight('table', 'f32', [31, features]), { scale: 3 });
      const given = sketch.given('rows', 'f32', ['given', features], values);
      const put = builder.putRows(embedded, given, sketch.given('at', 'i32', ['given'], at));
      // The embedding is read again, so the rows cannot simply be written over it.
      sketch.output('y', builder.add(builder.rmsNorm(put, undefined, { epsilon: 1e-6 }), embedded));
      return sketch.problem();
    },
  };
}

export const putRowsSuite: OpSuite = {
  bound: movedErrors('putRows', (name) => name !== 'at'),
  cases: () => [
    ...(['f32', 'i32'] as const).flatMap((dtype) => [
      putRowsCase({ dtype, shape: [7, 13], at: [2, 3, 6] }),
      putRowsCase({ dtype, shape: [7, 13], at: [6, 0] }),
      putRowsCase({ dtype, shape: [5, 3, 7], at: [4, 1] }),
      putRowsCase({ dtype, shape: [37, 5], at: Array.from({ length: 37 }, (_, i) => (i * 11) % 37) }),
      putRowsCase({ dtype, shape: [5, 3], at: [] }),
      putRowsCase({ dtype, shape: [11], at: [3, 10] }),
    ]),
    afterEmbedCase(),
    putRowsCase({ dtype: 'f32', shape: [3, 7], at: [1, 3] }, { rejects: 'usage/row' }),
    putRowsCase({ dtype: 'f32', shape: [3, 7], at: [-1] }, { rejects: 'usage/row' }),
  ],
  benchmarks: () => [
    putRowsCase({ dtype: 'f32', shape: [512, 2048], at: Array.from({ length: 256 }, (_, i) => 64 + i) }),
  ],
};
