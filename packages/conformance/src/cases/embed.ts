/** Embed: rows of every weight dtype, by id. */
import { dtypeLayout, type DeviceInfo, type DType } from '@unicorn-exec/tensor';
import { below, Sketch, type Case } from '../case.js';
import { boundEach, type Errors } from '../bound.js';
import { unit, type BoundContext } from '../tolerance.js';
import type { OpSuite } from './suite.js';

/**
 * Decoding rounds at most three times in f32 (scale of a sub-block, product, offset), and the offset of an affine
 * format can be about as large as the largest element (see matmul): 3 units of 3 times the row's largest magnitude.
 * The scale factor is one rounding more. Scalar types decode exactly.
 */
function bound({ inputs, attributes, outputs }: BoundContext): Errors[] {
  const { dtype } = inputs.table!.tensor;
  const scale = attributes.scale as number;
  const y = outputs[0]!.floats;
  const { columns } = outputs[0]!;
  if (dtypeLayout(dtype).blockSize === 1) {
    return [scale === 1 ? undefined : boundEach(outputs[0]!, (i) => 2 * unit * Math.abs(y[i]!))];
  }
  return [
    boundEach(outputs[0]!, (i) => {
      const row = Math.floor(i / columns) * columns;
      const top = y.subarray(row, row + columns).reduce((a, b) => Math.max(a, Math.abs(b)), 0);
      return 9 * unit * top + 2 * unit * Math.abs(y[i]!);
    }),
  ];
}

interface EmbedShape {
  readonly dtype: DType;
  readonly rows: number;
  readonly vocabulary: number;
  readonly features: number;
  readonly scale?: number;
}

function embedCase({ dtype, rows, vocabulary, features, scale = 1 }: EmbedShape): Case {
  const name = `embed ${dtype} ${rows} of ${vocabulary}x${features}${scale === 1 ? '' : ' scaled'}`;
  return {
    name,
    op: 'embed',
    rows,
    make(batch) {
      const sketch = new Sketch(name, batch);
      const ids = sketch.integers('ids', ['tokens'], below(vocabulary));
      const table = sketch.weight('table', dtype, [vocabulary, features]);
      sketch.output('y', sketch.builder.embed(ids, table, { scale }));
      return sketch.problem();
    },
  };
}

/** Some rows and columns of the table: ids count from the view's first row. */
function viewCase(dtype: DType): Case {
  const name = `embed ${dtype} view of rows and columns in the middle`;
  const { blockSize } = dtypeLayout(dtype);
  const width = blockSize === 1 ? 17 : blockSize;
  return {
    name,
    op: 'embed',
    rows: 5,
    make(batch) {
      const sketch = new Sketch(name, batch);
      const ids = sketch.integers('ids', ['tokens'], below(7));
      const view = { rowStart: 3, rows: 7, columnStart: width, columns: 2 * width };
      sketch.output('y', sketch.builder.embed(ids, sketch.weight('table', dtype, [13, 4 * width], view)));
      return sketch.problem();
    },
  };
}

function idsCase(name: string, values: readonly number[], extra: Partial<Case>, beyond?: 'firstRow'): Case {
  return {
    name: `embed ${name}`,
    op: 'embed',
    ...extra,
    make() {
      const sketch = new Sketch(name);
      const ids = sketch.given('ids', 'i32', [values.length], values);
      const table = sketch.weight('table', 'f32', [11, 13]);
      sketch.output('y', sketch.builder.embed(ids, table, beyond ? { beyond } : {}));
      return sketch.problem();
    },
  };
}

function cases({ dtypes }: DeviceInfo): Case[] {
  return [
    ...dtypes.weights.flatMap((dtype) => {
      const { blockSize } = dtypeLayout(dtype);
      const features = (blocks: number): number => (blockSize === 1 ? 23 : blockSize) * blocks;
      return [
        embedCase({ dtype, rows: 7, vocabulary: 31, features: features(3) }),
        viewCase(dtype),
        embedCase({ dtype, rows: 2, vocabulary: 5, features: features(1), scale: Math.sqrt(53) }),
      ];
    }),
    idsCase('first and last row', [0, 10, 10, 0], {}),
    idsCase('ids past the table as row 0', [3, 11, 2 ** 31 - 1, 10], {}, 'firstRow'),
    idsCase('an id past the table', [3, 11], { rejects: 'usage/token-id' }),
    idsCase('no token', [3, -1, 10], { promise: '-1, which is no token, is taken for row 0.' }),
    idsCase('no token where ids past the table are row 0', [3, -1, 11], {}, 'firstRow'),
    idsCase('a negative id', [-2, 3], { rejects: 'usage/token-id' }),
    idsCase('a negative id as row 0', [3, -2], { rejects: 'usage/token-id' }, 'firstRow'),
  ];
}

export const embedSuite: OpSuite = {
  bound,
  cases,
  benchmarks: ({ dtypes }) =>
    dtypes.weights
      .filter((dtype) => ['f16', 'q8_0', 'q4_0'].includes(dtype))
      .map((dtype) => embedCase({ dtype, rows: 64, vocabulary: 8192, features: 2048 })),
};
