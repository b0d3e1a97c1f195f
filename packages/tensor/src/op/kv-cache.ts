/**
 * The paged KV cache (Kwon et al. 2023, arXiv:2309.06180) as a state value. One state is
 * `[blocks, 2, kvHeads, blockTokens, headDim]`: a block is contiguous, its keys come before its values. Where the second
 * axis is 1 the keys are stored alone, and serve as values too. The slot `block * blockTokens + offset` holds one token.
 * Block 0 is a sink for padded rows.
 */
import { rowBytes, type DType } from '../dtype.js';
import { encodeKvRow } from '../format/kv.js';
import { UnicornError } from '../error.js';
import type { HostTensor } from '../host-tensor.js';
import {
  expectDType,
  expectDim,
  expectRank,
  shapeError,
  specElements,
  type ConcreteSpec,
  type Op,
} from './op.js';
import { segmentRanges } from './segment.js';

/** Element types that a KV state may have. */
export const kvDTypes = ['f32', 'f16', 'bf16', 'q8_0'] as const satisfies readonly DType[];

function checkState(op: string, state: { dtype: DType; shape: readonly unknown[] }): void {
  if (state.shape.length !== 5 || (state.shape[1] !== 2 && state.shape[1] !== 1)) {
    throw shapeError(
      op,
      `"state" must be [blocks, 2 or 1, kvHeads, blockTokens, headDim], not [${state.shape.join(', ')}].`,
    );
  }
  if (!(kvDTypes as readonly DType[]).includes(state.dtype)) {
    throw shapeError(op, `"state" must be one of ${kvDTypes.join(', ')}, not ${state.dtype}.`);
  }
}

type KvPart = 'key' | 'value';

/** Row of the state (all leading axes flattened) that holds one token's key or value of one head. */
function stateRow(state: HostTensor, slot: number, part: KvPart, head: number): number {
  const [blocks, parts, heads, blockTokens] = state.shape as [number, number, number, number];
  const block = Math.floor(slot / blockTokens);
  if (slot < 0 || block >= blocks) {
    throw new UnicornError('usage/slot', `Slot ${slot} is outside the pool of ${blocks} blocks.`, {
      fields: { slot, blocks, blockTokens },
    });
  }
  const at = part === 'key' ? 0 : parts - 1;
  return ((block * parts + at) * heads + head) * blockTokens + (slot % blockTokens);
}

function* blocksOfSlots(slots: Int32Array, { shape }: ConcreteSpec): Iterable<number> {
  for (const slot of slots) yield Math.floor(slot / shape[3]!);
}

export const kvWrite: Op = {
  name: 'kvWrite',
  about: 'stores the keys and values of tokens at their slots; returns the state as a new value',
  operands: [
    {
      name: 'state',
      about: 'f32, f16, bf16 or q8_0 [blocks, 2, kvHeads, blockTokens, headDim], or with 1 for the 2',
    },
    { name: 'key', about: 'f32 [tokens, kvHeads, headDim]' },
    {
      name: 'value',
      about: 'f32 [tokens, kvHeads, headDim]; absent where the state stores keys alone',
      optional: true,
    },
    { name: 'slots', about: 'i32 [tokens]; distinct but for slots of block 0' },
  ],
  attributes: {},
  outputs({ state, key, value, slots }) {
    checkState('kvWrite', state!);
    expectDType('kvWrite', 'slots', slots!, 'i32');
    if ((value !== undefined) !== (state!.shape[1] === 2)) {
      throw shapeError(
        'kvWrite',
        value ? 'A state of keys alone takes no values.' : 'A state of keys and values takes both.',
      );
    }
    for (const [name, spec] of Object.entries({ key, value })) {
      if (!spec) continue;
      expectDType('kvWrite', name, spec, 'f32');
      expectRank('kvWrite', name, spec, 3);
      expectDim('kvWrite', `the tokens of ${name}`, spec.shape[0], slots!.shape[0]);
      expectDim('kvWrite', `the heads of ${name}`, spec.shape[1], state!.shape[2]);
      expectDim('kvWrite', `the head dim of ${name}`, spec.shape[2], state!.shape[4]);
    }
    return [state!];
  },
  aliases: { 0: 'state' },
  touches: { state: { operand: 'slots', rows: ({ integers }, state) => blocksOfSlots(integers, state) } },
  flops: () => 0,
  bytes({ state, key }) {
    const [elements, headDim] = [specElements(key!), key!.shape[2]!];
    return state!.shape[1]! * (4 * elements + (elements / headDim) * rowBytes(state!.dtype, headDim));
  },
  evaluate({ inputs }) {
    const state = inputs.state!;
    const slots = inputs.slots!.integers;
    const [, heads, headDim] = inputs.key!.shape as [number, number, number];
    for (const part of ['key', 'value'] as const) {
      const source = inputs[part]?.floats;
      if (!source) continue;
      slots.forEach((slot, token) => {
        for (let head = 0; head < heads; head++) {
          const start = (token * heads + head) * headDim;
          const at = state.byteOffset + stateRow(state, slot, part, head) * state.rowStrideBytes;
          encodeKvRow(state.dtype, source.subarray(start, start + headDim), state.bytes, at);
        }
      });
    }
  },
};

/** Key positions that a query at `position` sees: `[first, last]`. */
export function attentionSight(
  position: number,
  reach: number,
  window: number | undefined,
): [first: number, last: number] {
  return [window === undefined ? 0 : Math.max(0, position - window + 1), reach];
}

function attentionFlops({ query, blocks, state }: Readonly<Record<string, ConcreteSpec>>): number {
  // An upper bound: every query sees every position that the block table can address.
  const keys = blocks!.shape[1]! * state!.shape[3]!;
  return 4 * specElements(query!) * keys;
}

export const attention: Op = {
  name: 'attention',
  about:
    'softmax(scale * q k^T) v over the cached keys of each sequence, causal, grouped-query; 0 where no key is seen',
  operands: [
    { name: 'query', about: 'f32 [rows, heads, headDim]; heads is a multiple of kvHeads' },
    { name: 'state', about: 'the KV state, keys of this step already written' },
    { name: 'positions', about: 'i32 [rows], absolute position of each query' },
    {
      name: 'starts',
      about: 'i32 [sequences], first row of each sequence; a sequence ends where the next begins',
    },
    {
      name: 'blocks',
      about: 'i32 [sequences, tableColumns], block of positions c * blockTokens ... in column c',
    },
    {
      name: 'reach',
      about: 'i32 [rows], last key position that a query sees; its own when absent',
      optional: true,
    },
  ],
  attributes: {
    scale: { type: 'number', about: 'multiplies the scores' },
    window: { type: 'number', about: 'a query sees keys with position - key < window', optional: true },
    softcap: { type: 'number', about: 'scores become softcap * tanh(score / softcap)', optional: true },
  },
  outputs({ query, state, positions, starts, blocks, reach }) {
    checkState('attention', state!);
    expectDType('attention', 'query', query!, 'f32');
    expectRank('attention', 'query', query!, 3);
    expectRank('attention', 'blocks', blocks!, 2);
    for (const [name, spec] of Object.entries({ positions, starts, blocks, reach })) {
      if (spec) expectDType('attention', name, spec, 'i32');
    }
    expectDim('attention', 'the rows of positions', positions!.shape[0], query!.shape[0]);
    if (reach) expectDim('attention', 'the rows of reach', reach.shape[0], query!.shape[0]);
    expectDim('attention', 'the rows of blocks', blocks!.shape[0], starts!.shape[0]);
    expectDim('attention', 'the head dim of query', query!.shape[2], state!.shape[4]);
    const [heads, kvHeads] = [query!.shape[1] as number, state!.shape[2] as number];
    if (heads % kvHeads !== 0)
      throw shapeError('attention', `${heads} heads are not a multiple of ${kvHeads} KV heads.`);
    return [{ dtype: 'f32', shape: query!.shape }];
  },
  touches: { state: { operand: 'blocks', rows: ({ integers }) => integers } },
  flops: attentionFlops,
  bytes: ({ query, state, blocks }) =>
    8 * specElements(query!) +
    // Every block that the tables can name is read once.
    specElements(blocks!) *
      state!.shape[1]! *
      state!.shape[2]! *
      state!.shape[3]! *
      rowBytes(state!.dtype, state!.shape[4]!),
  evaluate({ inputs, attributes, outputs }) {
    const { query, state, positions, starts, blocks, reach } = inputs;
    const [rows, heads, headDim] = query!.shape as [number, number, number];
    const [, , kvHeads, blockTokens] = state!.shape as [number, number, number, number];
    const tableColumns = blocks!.shape[1]!;
    const table = blocks!.integers;
    const q = query!.floats;
    const out = outputs[0]!.floats;
    const { scale, window, softcap } = attributes as { scale: number; window?: number; softcap?: number };
    const line = new Float32Array(headDim);
    segmentRanges(starts!.integers, rows).forEach(({ begin, end }, sequence) => {
      for (let row = begin; row < end; row++) {
        const position = positions!.integers[row]!;
        const [first, last] = attentionSight(position, reach?.integers[row] ?? position, window);
        if (last >= tableColumns * blockTokens) {
          throw new UnicornError(
            'usage/block-table',
            `Position ${last} is beyond the block table of ${tableColumns} columns.`,
            {
              fields: { position: last, tableColumns, blockTokens },
              fix: 'Give the table a column for each block of the sequence.',
            },
          );
        }
        for (let head = 0; head < heads; head++) {
          const kvHead = Math.floor(head / (heads / kvHeads));
          const start = (row * heads + head) * headDim;
          const slotOf = (key: number): number =>
            table[sequence * tableColumns + Math.floor(key / blockTokens)]! * blockTokens +
            (key % blockTokens);
          const scores = new Float64Array(Math.max(0, last - first + 1));
          for (let key = first; key <= last; key++) {
            state!.decodeRow(stateRow(state!, slotOf(key), 'key', kvHead), line);
            let dot = 0;
            for (let i = 0; i < headDim; i++) dot += q[start + i]! * line[i]!;
            const score = dot * scale;
            scores[key - first] = softcap === undefined ? score : softcap * Math.tanh(score / softcap);
          }
          const top = scores.reduce((a, b) => Math.max(a, b), -Infinity);
          let total = 0;
          const sums = new Float64Array(headDim);
          for (let key = first; key <= last; key++) {
            const weight = Math.exp(scores[key - first]! - top);
            total += weight;
            state!.decodeRow(stateRow(state!, slotOf(key), 'value', kvHead), line);
            for (let i = 0; i < headDim; i++) sums[i]! += weight * line[i]!;
          }
          if (last >= first) for (let i = 0; i < headDim; i++) out[start + i] = sums[i]! / total;
        }
      }
    });
  },
};
