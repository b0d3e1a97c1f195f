/**
 * Ragged batches over a paged KV cache: which rows a step holds, where their keys go, and which blocks each sequence
 * has. Block ids are in random order, so that no kernel can take neighbouring positions for neighbouring blocks.
 */
import { HostTensor, findOp, tensorBytes, type DType } from '@unicorn-exec/tensor';
import { Random } from './random.js';

export interface RaggedSequence {
  /** Tokens already in the cache. */
  readonly past: number;
  /** Tokens of this step. */
  readonly rows: number;
}

export interface RaggedBatch {
  readonly tokens: number;
  readonly sequences: number;
  /** Columns of the block table. */
  readonly blocks: number;
  /** Blocks of the pool, the sink included. */
  readonly pool: number;
  readonly positions: readonly number[];
  readonly starts: readonly number[];
  /** Slot of each row of this step. */
  readonly slots: readonly number[];
  /** `[sequences, blocks]`, 0 where there is none. */
  readonly table: readonly number[];
  /** Slots of the tokens before this step, sequence by sequence. */
  readonly pastSlots: readonly number[];
}

export interface PoolLayout {
  readonly blockTokens: number;
  /** Blocks that left the window are given back: their table entry is the sink. */
  readonly window?: number | undefined;
  /** Names the stream of block ids. */
  readonly seed: string;
  /** Positions for which each sequence reserves blocks; as many as it needs by default. */
  readonly capacity?: number;
  /** Blocks of the pool that no sequence owns. */
  readonly spareBlocks?: number;
}

export function layRagged(sequences: readonly RaggedSequence[], layout: PoolLayout): RaggedBatch {
  const { blockTokens, window, seed, capacity, spareBlocks = 2 } = layout;
  const needed = sequences.map(({ past, rows }) => Math.ceil((capacity ?? past + rows) / blockTokens));
  const columns = Math.max(1, ...needed) + 1;
  const pool = 1 + needed.reduce((a, b) => a + b, 0) + spareBlocks;
  const free = new Random(`blocks ${seed}`).permutation(pool - 1).map((id) => id + 1);
  const table = new Array<number>(sequences.length * columns).fill(0);
  const [positions, starts, slots, pastSlots]: [number[], number[], number[], number[]] = [[], [], [], []];
  sequences.forEach(({ past, rows }, sequence) => {
    starts.push(positions.length);
    for (let column = 0; column < needed[sequence]!; column++) {
      table[sequence * columns + column] = free.pop()!;
    }
    const slotOf = (position: number): number =>
      table[sequence * columns + Math.floor(position / blockTokens)]! * blockTokens +
      (position % blockTokens);
    for (let position = 0; position < past; position++) pastSlots.push(slotOf(position));
    for (let position = past; position < past + rows; position++) {
      positions.push(position);
      slots.push(slotOf(position));
    }
    if (window !== undefined) {
      const firstSeen = Math.max(0, past - window + 1);
      for (let column = 0; column < Math.floor(firstSeen / blockTokens); column++) {
        table[sequence * columns + column] = 0;
      }
    }
  });
  return {
    tokens: positions.length,
    sequences: sequences.length,
    blocks: columns,
    pool,
    positions,
    starts,
    slots,
    table,
    pastSlots,
  };
}

export interface StateShape {
  readonly dtype: DType;
  readonly pool: number;
  readonly kvHeads: number;
  readonly blockTokens: number;
  readonly headDim: number;
  /** Keys are stored alone and are the values too. */
  readonly valuesAreKeys?: boolean;
}

/**
 * A state before the step.
 *
 * @param filler `zeros` as a fresh buffer is; `junk`: what other sequences left behind; `poison`: NaN everywhere but in
 * `slots`, to show that what a query may not see does not matter
 * @param slots slots that hold random keys and values
 */
export function makeState(
  shape: StateShape,
  filler: 'zeros' | 'junk' | 'poison',
  slots: readonly number[],
  seed: string,
): HostTensor {
  const { dtype, pool, kvHeads, blockTokens, headDim, valuesAreKeys = false } = shape;
  const dims = [pool, valuesAreKeys ? 1 : 2, kvHeads, blockTokens, headDim];
  const state = new HostTensor(dtype, dims, new Uint8Array(tensorBytes(dtype, dims)));
  const write = (at: readonly number[], draw: () => number): void => {
    if (at.length === 0) return;
    const tensor = (): HostTensor =>
      HostTensor.f32(
        [at.length, kvHeads, headDim],
        Float32Array.from({ length: at.length * kvHeads * headDim }, draw),
      );
    findOp('kvWrite').evaluate({
      inputs: {
        state,
        key: tensor(),
        ...(valuesAreKeys ? {} : { value: tensor() }),
        slots: HostTensor.i32([at.length], at),
      },
      attributes: {},
      outputs: [state],
    });
  };
  const random = new Random(`state ${seed}`);
  const everywhere = Array.from({ length: pool * blockTokens }, (_, slot) => slot);
  if (filler === 'junk') write(everywhere, () => 5 * random.normal());
  if (filler === 'poison') write(everywhere, () => NaN);
  write(slots, () => random.normal());
  return state;
}
