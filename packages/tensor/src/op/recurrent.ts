/**
 * State that is not keys and values: one slot for each sequence, along the leading axis. A step reads a slot of each
 * sequence and writes one: the same, or another, so that what was read stays as a snapshot and a rollback is to go on from
 * it. Slot 0 reads as zeros, where a sequence begins, and keeps nothing that is written to it. A slot that is written may
 * be read by no other sequence of the step.
 */
import { UnicornError } from '../error.js';
import type { HostTensor } from '../host-tensor.js';
import {
  expectDim,
  expectDType,
  expectRank,
  shapeError,
  specElements,
  type Op,
  type StateRows,
} from './op.js';
import { segmentRanges } from './segment.js';

const slotPairs = 'i32 [sequences, 2]: the slot that is read and the slot that is written';

const touchedSlots: StateRows = { operand: 'slots', rows: ({ integers }) => integers };

function checkSlot(slot: number, count: number): number {
  if (slot >= 0 && slot < count) return slot;
  throw new UnicornError('usage/slot', `Slot ${slot} is outside the state of ${count} slots.`, {
    fields: { slot, slots: count },
  });
}

/** The content of each sequence's slot before the step, and where it goes after. */
function openSlots(
  state: HostTensor,
  slots: HostTensor,
): { readonly held: Float32Array; readonly close: () => void }[] {
  const [count] = state.shape as [number];
  const size = state.elements / Math.max(1, count);
  const at = (slot: number): Float32Array => state.floats.subarray(slot * size, (slot + 1) * size);
  return Array.from({ length: slots.shape[0]! }, (_, sequence) => {
    const from = checkSlot(slots.integers[2 * sequence]!, count);
    const to = checkSlot(slots.integers[2 * sequence + 1]!, count);
    const held = from === 0 ? new Float32Array(size) : at(from).slice();
    return { held, close: () => void (to > 0 && at(to).set(held)) };
  });
}

function checkSequences(op: string, starts: Parameters<typeof expectDType>[2], slots: typeof starts): void {
  expectDType(op, 'starts', starts, 'i32');
  expectRank(op, 'starts', starts, 1);
  expectDType(op, 'slots', slots, 'i32');
  expectRank(op, 'slots', slots, 2);
  expectDim(op, 'the rows of slots', slots.shape[0], starts.shape[0]);
  expectDim(op, 'the columns of slots', slots.shape[1], 2);
}

export const causalConv: Op = {
  name: 'causalConv',
  about:
    'a short causal convolution of each channel, whose last inputs are kept in a state from step to step',
  operands: [
    {
      name: 'state',
      about: 'f32 [slots, width - 1, channels], the last inputs of each sequence, oldest first',
    },
    { name: 'x', about: 'f32 [tokens, channels]' },
    { name: 'weight', about: 'any dtype [channels, width]; the last column is for the token itself' },
    { name: 'starts', about: 'i32 [sequences], first row of each' },
    { name: 'slots', about: slotPairs },
  ],
  attributes: {},
  outputs({ state, x, weight, starts, slots }) {
    expectDType('causalConv', 'state', state!, 'f32');
    expectRank('causalConv', 'state', state!, 3);
    expectDType('causalConv', 'x', x!, 'f32');
    expectRank('causalConv', 'x', x!, 2);
    expectRank('causalConv', 'weight', weight!, 2);
    expectDim('causalConv', 'the channels of state', state!.shape[2], x!.shape[1]);
    expectDim('causalConv', 'the channels of weight', weight!.shape[0], x!.shape[1]);
    expectDim('causalConv', 'the width of weight', weight!.shape[1], (state!.shape[1] as number) + 1);
    checkSequences('causalConv', starts!, slots!);
    return [{ dtype: 'f32', shape: x!.shape }, state!];
  },
  aliases: { 1: 'state' },
  touches: { state: touchedSlots },
  flops: ({ x, weight }) => 2 * specElements(x!) * weight!.shape[1]!,
  evaluate({ inputs, outputs }) {
    const { columns: channels, floats: x, rows } = inputs.x!;
    const width = inputs.weight!.columns;
    const weight = inputs.weight!.toFloats();
    const ranges = segmentRanges(inputs.starts!.integers, rows);
    openSlots(inputs.state!, inputs.slots!).forEach(({ held, close }, sequence) => {
      const { begin, end } = ranges[sequence]!;
      /** The input of a row of this step, or of one of the `width - 1` before it. */
      const inputAt = (row: number, channel: number): number =>
        row >= begin ? x[row * channels + channel]! : held[(row - begin + width - 1) * channels + channel]!;
      for (let row = begin; row < end; row++) {
        for (let channel = 0; channel < channels; channel++) {
          let sum = 0;
          for (let i = 0; i < width; i++) {
            sum += weight[channel * width + i]! * inputAt(row - width + 1 + i, channel);
          }
          outputs[0]!.floats[row * channels + channel] = sum;
        }
      }
      const last = Float32Array.from(held, (_, i) =>
        inputAt(end - width + 1 + Math.floor(i / channels), i % channels),
      );
      held.set(last);
      close();
    });
  },
};

/**
 * The gated delta rule (Yang, Kautz, Hatamizadeh 2024, arXiv:2412.06464): with S [keyDim, valueDim] of each head,
 *   S <- exp(decay) S;  S <- S + k (beta (v - S^T k))^T;  y = S^T q.
 */
export const gatedDelta: Op = {
  name: 'gatedDelta',
  about:
    'linear attention by the gated delta rule: a matrix of each head is decayed, corrected and read, token by token',
  operands: [
    { name: 'state', about: 'f32 [slots, heads, keyDim, valueDim]' },
    { name: 'query', about: 'f32 [tokens, keyHeads, keyDim], scaled' },
    { name: 'key', about: 'f32 [tokens, keyHeads, keyDim], of unit norm in trained models' },
    { name: 'value', about: 'f32 [tokens, heads, valueDim]; heads is a multiple of keyHeads' },
    { name: 'decay', about: 'f32 [tokens, heads], the logarithm of the factor' },
    { name: 'beta', about: 'f32 [tokens, heads], how much of the error is corrected' },
    { name: 'starts', about: 'i32 [sequences], first row of each' },
    { name: 'slots', about: slotPairs },
  ],
  attributes: {},
  outputs({ state, query, key, value, decay, beta, starts, slots }) {
    const op = 'gatedDelta';
    for (const [name, spec] of Object.entries({ state, query, key, value, decay, beta })) {
      expectDType(op, name, spec!, 'f32');
      expectRank(op, name, spec!, name === 'state' ? 4 : name === 'decay' || name === 'beta' ? 2 : 3);
      if (name !== 'state') expectDim(op, `the tokens of ${name}`, spec!.shape[0], value!.shape[0]);
    }
    const [, heads, keyDim, valueDim] = state!.shape;
    expectDim(op, 'the heads of value', value!.shape[1], heads);
    expectDim(op, 'the head dim of value', value!.shape[2], valueDim);
    for (const [name, spec] of Object.entries({ decay, beta })) {
      expectDim(op, `the heads of ${name}`, spec!.shape[1], heads);
    }
    for (const [name, spec] of Object.entries({ query, key })) {
      expectDim(op, `the heads of ${name}`, spec!.shape[1], key!.shape[1]);
      expectDim(op, `the head dim of ${name}`, spec!.shape[2], keyDim);
    }
    if ((heads as number) % (key!.shape[1] as number) !== 0)
      throw shapeError(op, `${heads} heads are not a multiple of ${key!.shape[1]} key heads.`);
    checkSequences(op, starts!, slots!);
    return [{ dtype: 'f32', shape: value!.shape }, state!];
  },
  aliases: { 1: 'state' },
  touches: { state: touchedSlots },
  flops: ({ value, state }) => 7 * specElements(value!) * state!.shape[2]!,
  evaluate({ inputs, outputs }) {
    const [, heads, keyDim, valueDim] = inputs.state!.shape as [number, number, number, number];
    const keyHeads = inputs.key!.shape[1]!;
    const [q, k, v] = [inputs.query!.floats, inputs.key!.floats, inputs.value!.floats];
    const ranges = segmentRanges(inputs.starts!.integers, inputs.value!.shape[0]!);
    openSlots(inputs.state!, inputs.slots!).forEach(({ held, close }, sequence) => {
      const { begin, end } = ranges[sequence]!;
      for (let row = begin; row < end; row++) {
        for (let head = 0; head < heads; head++) {
          const factor = Math.exp(inputs.decay!.floats[row * heads + head]!);
          const beta = inputs.beta!.floats[row * heads + head]!;
          const keyAt = (row * keyHeads + Math.floor((head * keyHeads) / heads)) * keyDim;
          for (let j = 0; j < valueDim; j++) {
            const at = (i: number): number => (head * keyDim + i) * valueDim + j;
            const out = (row * heads + head) * valueDim + j;
            let recalled = 0;
            for (let i = 0; i < keyDim; i++) recalled += factor * held[at(i)]! * k[keyAt + i]!;
            const correction = beta * (v[out]! - recalled);
            let sum = 0;
            for (let i = 0; i < keyDim; i++) {
              held[at(i)] = factor * held[at(i)]! + k[keyAt + i]! * correction;
              sum += held[at(i)]! * q[keyAt + i]!;
            }
            outputs[0]!.floats[out] = sum;
          }
        }
      }
      close();
    });
  },
};

export const copySlots: Op = {
  name: 'copySlots',
  about: 'copies slots of a state to others of it: a snapshot that outlives what comes after',
  operands: [
    { name: 'state', about: 'any dtype [slots, ...]' },
    { name: 'pairs', about: 'i32 [count, 2]: from, to; no slot is both, and none is written twice' },
  ],
  attributes: {},
  outputs({ state, pairs }) {
    expectDType('copySlots', 'pairs', pairs!, 'i32');
    expectRank('copySlots', 'pairs', pairs!, 2);
    expectDim('copySlots', 'the columns of pairs', pairs!.shape[1], 2);
    if (state!.shape.length < 2)
      throw shapeError('copySlots', '"state" must have slots along its first axis.');
    return [state!];
  },
  aliases: { 0: 'state' },
  touches: { state: { operand: 'pairs', rows: ({ integers }) => integers } },
  flops: () => 0,
  evaluate({ inputs }) {
    const state = inputs.state!;
    const [count] = state.shape as [number];
    const bytes = state.denseBytes();
    const size = bytes.byteLength / Math.max(1, count);
    const { integers } = inputs.pairs!;
    for (let pair = 0; pair < integers.length; pair += 2) {
      const from = checkSlot(integers[pair]!, count);
      const to = checkSlot(integers[pair + 1]!, count);
      bytes.copyWithin(to * size, from * size, (from + 1) * size);
    }
  },
};
