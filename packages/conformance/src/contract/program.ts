/**
 * The graphs that contract cases submit. Each thing is computed by several graphs with the same result, since a device need
 * not have every op. A case takes the first that the device supports; where it supports none the case is refused.
 */
import {
  floatToBfloat,
  floatToHalf,
  GraphBuilder,
  type DeviceInfo,
  type DType,
  type ErrorCode,
  type Graph,
  type Planner,
  type Precision,
  type WeightEntry,
} from '@unicorn-exec/tensor';

/** Columns of every row: a whole block of the formats that have blocks. */
export const width = 32;

/** A graph with the weights that it reads. */
export interface Program {
  /** The name that tells the options of a need apart. */
  readonly name: string;
  readonly graph: Graph;
  readonly weights: readonly WeightEntry[];
}

/** Something to be computed, and the programs that compute it, the plainest first. */
export interface Need<P extends Program = Program> {
  readonly what: string;
  options(info: DeviceInfo): readonly P[];
}

/** The precision of contract cases: the most exact that the device has. */
export function contractPrecision({ precisions }: DeviceInfo): Precision {
  return precisions.includes('f32') ? 'f32' : precisions[0]!;
}

/** The first option that is supported, or why none is. */
export function choose<P extends Program>(
  need: Need<P>,
  planner: Planner,
  info: DeviceInfo,
): { readonly program: P } | { readonly refused: string } {
  const precision = contractPrecision(info);
  const reasons: string[] = [];
  for (const program of need.options(info)) {
    const { graph } = program;
    const support = graph.nodes
      .map((node) => planner.supports(node, graph, { precision }))
      .find((answer) => !answer.ok);
    if (!support || support.ok) return { program };
    reasons.push(`${program.name}: ${support.reason}`);
  }
  return { refused: `${need.what} cannot be computed (${reasons.join('; ') || 'no weight dtype fits'})` };
}

/** Rows `[rows, width]` as a checkpoint holds them. q4_0 holds nothing but 0 and 2 here. */
function encodeRows(dtype: DType, values: Float32Array): Uint8Array {
  switch (dtype) {
    case 'f32':
      return new Uint8Array(values.slice().buffer);
    case 'f16':
      return new Uint8Array(Uint16Array.from(values, floatToHalf).buffer);
    case 'bf16':
      return new Uint8Array(Uint16Array.from(values, floatToBfloat).buffer);
    case 'q8_0':
      return encodeBlocks(values, 34, (block, view) => {
        const scale = block.reduce((top, value) => Math.max(top, Math.abs(value)), 0) / 127;
        view.setUint16(0, floatToHalf(scale), true);
        block.forEach((value, i) => view.setInt8(2 + i, scale === 0 ? 0 : Math.round(value / scale)));
      });
    case 'q4_0':
      return encodeBlocks(values, 18, (block, view) => {
        // Element i and element i + 16 share a byte; a nibble q is (q - 8) * scale, so 2 is nibble 0 at a scale of -1/4.
        view.setUint16(0, floatToHalf(-0.25), true);
        const nibble = (value: number): number => (value === 2 ? 0 : 8);
        for (let i = 0; i < 16; i++) {
          view.setUint8(2 + i, nibble(block[i]!) | (nibble(block[16 + i]!) << 4));
        }
      });
    default:
      throw new TypeError(`no rows of ${dtype} are made here`);
  }
}

function encodeBlocks(
  values: Float32Array,
  blockBytes: number,
  encode: (block: Float32Array, view: DataView) => void,
): Uint8Array {
  const bytes = new Uint8Array((values.length / 32) * blockBytes);
  for (let at = 0, start = 0; start < values.length; at += blockBytes, start += 32) {
    encode(values.subarray(start, start + 32), new DataView(bytes.buffer, at, blockBytes));
  }
  return bytes;
}

/** A weight `[rows, width]` of the dtype. Columns that are not given are zero. */
export function weightRows(
  name: string,
  dtype: DType,
  rows: readonly (readonly number[])[],
): WeightEntry & { readonly source: { readonly kind: 'bytes' } } {
  const values = new Float32Array(rows.length * width);
  rows.forEach((row, i) => values.set(row, i * width));
  const bytes = encodeRows(dtype, values);
  return { name, dtype, shape: [rows.length, width], source: { kind: 'bytes', bytes } };
}

/** The dtypes of these that the device reads, in this order. */
function readable({ dtypes }: DeviceInfo, wanted: readonly DType[]): DType[] {
  return wanted.filter((dtype) => dtypes.weights.includes(dtype));
}

/** Weight dtypes that hold any small number, the plainest first. */
export const floatDTypes: readonly DType[] = ['f32', 'f16', 'bf16', 'q8_0'];

/** Input `x`, output `y = 2 x`, both f32 `[tokens, width]`. */
export const doubling: Need = {
  what: 'twice an input',
  options(info) {
    const build = (
      name: string,
      double: (
        builder: GraphBuilder,
        x: ReturnType<GraphBuilder['input']>,
      ) => ReturnType<GraphBuilder['input']>,
    ): Graph => {
      const builder = new GraphBuilder(name);
      builder.output('y', double(builder, builder.input('x', 'f32', ['tokens', width])));
      return builder.build();
    };
    const twos = Array.from({ length: width }, (_, row) =>
      Array.from({ length: width }, (_, column) => (column === row ? 2 : 0)),
    );
    return [
      { name: 'scale', graph: build('scale', (builder, x) => builder.scale(x, 2)), weights: [] },
      { name: 'add', graph: build('add', (builder, x) => builder.add(x, x)), weights: [] },
      ...readable(info, [...floatDTypes, 'q4_0']).map((dtype): Program => {
        const weight = weightRows('twice', dtype, twos);
        return {
          name: `matmul ${dtype}`,
          graph: build('matmul', (builder, x) => builder.matmul(x, builder.weight('twice', weight))),
          weights: [weight],
        };
      }),
    ];
  },
};

export interface ProductProgram extends Program {
  /** Type of the weight `w`. */
  readonly dtype: DType;
}

/** `y = x w^T` with `w` `[rows, width]` that the case loads itself, or the rows of it from `rowStart` on. */
export function product(rows: number, rowStart = 0): Need<ProductProgram> {
  return {
    what: 'a product with a weight',
    options: (info) =>
      readable(info, floatDTypes).map((dtype) => {
        const builder = new GraphBuilder('product');
        const x = builder.input('x', 'f32', ['tokens', width]);
        const stored = { dtype, shape: [rows, width] };
        const weight = builder.weight('w', stored, rowStart === 0 ? undefined : { rowStart });
        builder.output('y', builder.matmul(x, weight));
        return { name: `matmul ${dtype}`, graph: builder.build(), weights: [], dtype };
      }),
  };
}

/** The product of two weights, `a` and `b`, `[2, width]` each: outputs `ya` and `yb`. The case loads them. */
export const twoProducts: Need<ProductProgram> = {
  what: 'products with two weights',
  options: (info) =>
    readable(info, floatDTypes).map((dtype) => {
      const builder = new GraphBuilder('products');
      const x = builder.input('x', 'f32', ['tokens', width]);
      for (const name of ['a', 'b']) {
        builder.output(`y${name}`, builder.matmul(x, builder.weight(name, { dtype, shape: [2, width] })));
      }
      return { name: `matmul ${dtype}`, graph: builder.build(), weights: [], dtype };
    }),
};

/** `y` is the rows of the weight `table` `[3, width]` that `ids` i32 `[tokens]` name. The case loads the table. */
export const lookup: Need<ProductProgram> = {
  what: 'a look-up in a table',
  options: (info) =>
    readable(info, floatDTypes).map((dtype) => {
      const builder = new GraphBuilder('lookup');
      const ids = builder.input('ids', 'i32', ['tokens']);
      builder.output('y', builder.embed(ids, builder.weight('table', { dtype, shape: [3, width] })));
      return { name: `embed ${dtype}`, graph: builder.build(), weights: [], dtype };
    }),
};

export interface FailingProgram extends Program {
  /** The code that it fails with. */
  readonly code: ErrorCode;
  /** Inputs, so that `y`, f32 `[1, width]`, becomes `value` everywhere. */
  right(value: number): Readonly<Record<string, Float32Array | Int32Array>>;
  /** Inputs with which it fails. */
  wrong(): Readonly<Record<string, Float32Array | Int32Array>>;
}

/** A program that fails while it runs, not before, by an index that is out of range. */
export const failing: Need<FailingProgram> = {
  what: 'an index that may be out of range',
  options(info) {
    const table = (dtype: DType): WeightEntry =>
      weightRows(
        'table',
        dtype,
        [0, 1, 2].map((value) => Array.from({ length: width }, () => value)),
      );
    const looking = readable(info, floatDTypes).map((dtype): FailingProgram => {
      const builder = new GraphBuilder('lookup');
      const ids = builder.input('ids', 'i32', ['tokens']);
      builder.output('y', builder.embed(ids, builder.weight('table', { dtype, shape: [3, width] })));
      return {
        name: `embed ${dtype}`,
        graph: builder.build(),
        weights: [table(dtype)],
        code: 'usage/token-id',
        right: (value) => ({ ids: Int32Array.of(value) }),
        wrong: () => ({ ids: Int32Array.of(3) }),
      };
    });
    const builder = new GraphBuilder('rows');
    const rows = builder.input('rows', 'i32', ['tokens']);
    builder.output('y', builder.takeRows(builder.input('x', 'f32', [3, width]), rows));
    const x = new Float32Array(3 * width).map((_, i) => Math.floor(i / width));
    return [
      ...looking,
      {
        name: 'takeRows',
        graph: builder.build(),
        weights: [],
        code: 'usage/row',
        right: (value) => ({ x, rows: Int32Array.of(value) }),
        wrong: () => ({ x, rows: Int32Array.of(3) }),
      },
    ];
  },
};

export interface CacheProgram extends Program {
  /** Type of the state `kv` `[pool, 2, 1, 4, width]`. */
  readonly dtype: DType;
}

/** Stores `key` and `value` f32 `[tokens, 1, width]` at `slots`. */
export const cacheWrite: Need<CacheProgram> = {
  what: 'writing keys and values',
  options: ({ dtypes }) =>
    dtypes.kv.map((dtype) => {
      const builder = new GraphBuilder('write');
      const state = builder.state('kv', dtype, ['pool', 2, 1, cacheBlockTokens, width]);
      const [key, value] = [
        builder.input('key', 'f32', ['tokens', 1, width]),
        builder.input('value', 'f32', ['tokens', 1, width]),
      ];
      builder.kvWrite(state, key, value, builder.input('slots', 'i32', ['tokens']));
      return { name: `kvWrite ${dtype}`, graph: builder.build(), weights: [], dtype };
    }),
};

/** Tokens of a block of {@link cacheWrite}'s state. */
export const cacheBlockTokens = 4;

/** `y` f32 `[tokens, 1, width]` is what `query` sees of the state by the block table `blocks`. */
export const cacheRead: Need<CacheProgram> = {
  what: 'attention',
  options: ({ dtypes }) =>
    dtypes.kv.map((dtype) => {
      const builder = new GraphBuilder('read');
      const state = builder.state('kv', dtype, ['pool', 2, 1, cacheBlockTokens, width]);
      const query = builder.input('query', 'f32', ['tokens', 1, width]);
      const positions = builder.input('positions', 'i32', ['tokens']);
      const starts = builder.input('starts', 'i32', ['sequences']);
      const blocks = builder.input('blocks', 'i32', ['sequences', 'blocks']);
      builder.output('y', builder.attention({ query, state, positions, starts, blocks }, { scale: 1 }));
      return { name: `attention ${dtype}`, graph: builder.build(), weights: [], dtype };
    }),
};
