/** Operands of attention at small sizes: a cache whose blocks are out of order, and rows of several sequences. */
import { findOp, HostTensor, type DType } from '@unicorn-exec/tensor';
import { normals } from './random.js';

export interface AttentionShape {
  readonly dtype: DType;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly blockTokens: number;
  /** Keys in the cache and rows that ask, the last of which is at the last key. */
  readonly sequences: readonly { readonly keys: number; readonly rows: number }[];
  readonly window?: number;
  readonly softcap?: number;
  readonly ahead?: number;
}

/** All operands, blocks in an order that is not that of positions. */
export function attentionOperands(shape: AttentionShape) {
  const { dtype, heads, kvHeads, headDim, blockTokens, sequences, ahead } = shape;
  const columns = Math.max(...sequences.map(({ keys }) => Math.ceil(keys / blockTokens)));
  const pool = 1 + columns * sequences.length;
  const rows = sequences.reduce((sum, each) => sum + each.rows, 0);
  const state = HostTensor.zeros(dtype, [pool, 2, kvHeads, blockTokens, headDim]);
  const table = new Int32Array(sequences.length * columns);
  for (let i = 0; i < table.length; i++) table[i] = 1 + ((i * 7 + 3) % (pool - 1));
  // 7 and the number of blocks may have a common factor: then blocks are shared, which reading does not mind.
  const slots = Int32Array.from({ length: pool * blockTokens }, (_, slot) => slot);
  findOp('kvWrite').evaluate({
    inputs: {
      state,
      key: HostTensor.f32([slots.length, kvHeads, headDim], normals(slots.length * kvHeads * headDim, 1)),
      value: HostTensor.f32([slots.length, kvHeads, headDim], normals(slots.length * kvHeads * headDim, 2)),
      slots: HostTensor.i32([slots.length], slots),
    },
    attributes: {},
    outputs: [state],
  });
  const starts: number[] = [];
  const positions: number[] = [];
  const reach: number[] = [];
  for (const each of sequences) {
    starts.push(positions.length);
    for (let row = each.keys - each.rows; row < each.keys; row++) {
      positions.push(row);
      reach.push(Math.min(row + (ahead ?? 0), each.keys - 1));
    }
  }
  return {
    query: HostTensor.f32([rows, heads, headDim], normals(rows * heads * headDim, 3)),
    state,
    positions: HostTensor.i32([rows], positions),
    starts: HostTensor.i32([sequences.length], starts),
    blocks: HostTensor.i32([sequences.length, columns], table),
    ...(ahead === undefined ? {} : { reach: HostTensor.i32([rows], reach) }),
  };
}
