/**
 * Kernels of `causal-conv.comp`, `causal-conv-keep.comp`, `gated-delta.comp` and `copy-slots.comp`: states of one slot for
 * each sequence. The results of a sequence do not depend on the others of the step, nor on how its rows were cut into steps.
 */
import { tensorBytes } from '@unicorn-exec/tensor';
import { read, readWrite, u32, write, type Dispatch } from '../dispatch/dispatch.js';
import { opKernel } from './declaration.js';
import { groupsFor, product, workgroupSize } from './grid.js';
import type { Faults, Operand } from './operand.js';

export interface CausalConvCall {
  /** f32 [slots, width - 1, channels], written in place. */
  readonly state: Operand;
  /** f32 [rows, channels]. */
  readonly x: Operand;
  /** f32 [channels, width]. */
  readonly weight: Operand;
  /** i32 [sequences]: the first row of each. */
  readonly starts: Operand;
  /** i32 [sequences, 2]: the slot that each reads and the slot that it writes. */
  readonly slots: Operand;
  readonly out: Operand;
  readonly faults: Faults;
}

export const causalConv = opKernel<CausalConvCall>({
  call: (op) => ({
    state: op.input('state'),
    x: op.input('x'),
    weight: op.input('weight'),
    starts: op.input('starts'),
    slots: op.input('slots'),
    out: op.out,
    faults: op.at.faults,
  }),
  /** The result, then what the slots keep: all rows have read them by then. */
  dispatch({ state, x, weight, starts, slots, out, faults }) {
    const [rows, channels] = x.shape as [number, number];
    const [sequences] = starts.shape as [number];
    const width = weight.shape[1]!;
    const slotCount = state.shape[0]!;
    const results: Dispatch = {
      pipeline: { shader: 'causal-conv', constants: [workgroupSize] },
      arguments: [
        read(state.place),
        read(x.place),
        read(weight.place),
        read(starts.place),
        read(slots.place),
        write(out.place),
        ...[rows * channels, channels, width, sequences, slotCount].map(u32),
      ],
      groups: groupsFor(rows * channels),
      name: 'causalConv',
    };
    const kept: Dispatch = {
      pipeline: { shader: 'causal-conv-keep', constants: [workgroupSize] },
      arguments: [
        readWrite(state.place),
        read(x.place),
        read(starts.place),
        read(slots.place),
        read(faults),
        ...[sequences * channels, rows, channels, width, sequences, slotCount].map(u32),
      ],
      groups: groupsFor(sequences * channels),
      name: 'causalConv keep',
    };
    return [...(rows * channels > 0 ? [results] : []), ...(sequences * channels > 0 ? [kept] : [])];
  },
});

export interface GatedDeltaCall {
  /** f32 [slots, heads, keyDim, valueDim], written in place. */
  readonly state: Operand;
  /** f32 [rows, keyHeads, keyDim]. */
  readonly query: Operand;
  readonly key: Operand;
  /** f32 [rows, heads, valueDim]. */
  readonly value: Operand;
  /** f32 [rows, heads]. */
  readonly decay: Operand;
  readonly beta: Operand;
  /** As of {@link CausalConvCall}. */
  readonly starts: Operand;
  readonly slots: Operand;
  readonly out: Operand;
  readonly faults: Faults;
}

/** Invocations of `gated-delta.comp`, and elements of the state that each keeps in registers. */
const deltaInvocations = 256;
const keptElements = 16;

/** Columns of a head's matrix that a workgroup of `gated-delta.comp` takes at most. */
const mostColumns = 32;

/** The most rows of a head's matrix that fit a workgroup when it takes one column. */
const largestKeyDim = deltaInvocations * keptElements;

/** Rows and columns of a workgroup. They follow from the key dim alone, as the order of the sums does. */
function deltaColumns(keyDim: number): number {
  let columns = mostColumns;
  while (columns * keyDim > largestKeyDim) columns /= 2;
  return columns;
}

export const gatedDelta = opKernel<GatedDeltaCall>({
  refuses({ inputs }, graph) {
    const keyDim = Number(graph.values[inputs.state!]!.shape[2]);
    return keyDim <= largestKeyDim
      ? undefined
      : `gatedDelta over keys of ${keyDim}; at most ${largestKeyDim} are supported`;
  },
  call: (op) => ({
    state: op.input('state'),
    query: op.input('query'),
    key: op.input('key'),
    value: op.input('value'),
    decay: op.input('decay'),
    beta: op.input('beta'),
    starts: op.input('starts'),
    slots: op.input('slots'),
    out: op.out,
    faults: op.at.faults,
  }),
  dispatch({ state, query, key, value, decay, beta, starts, slots, out, faults }) {
    const [rows, heads, valueDim] = value.shape as [number, number, number];
    const [slotCount, , keyDim] = state.shape as [number, number, number];
    const [sequences] = starts.shape as [number];
    if (heads === 0 || valueDim === 0 || rows + sequences === 0) return [];
    const columns = deltaColumns(keyDim);
    return [
      {
        pipeline: { shader: 'gated-delta', constants: [deltaInvocations, columns] },
        arguments: [
          readWrite(state.place),
          ...[query, key, value, decay, beta, starts, slots].map(({ place }) => read(place)),
          write(out.place),
          read(faults),
          ...[rows, heads, query.shape[1]!, keyDim, valueDim, sequences, slotCount].map(u32),
        ],
        // Rows that belong to no sequence become zeros.
        groups: [Math.ceil(valueDim / columns), heads, Math.max(1, sequences)],
        name: 'gatedDelta',
      },
    ];
  },
});

export interface CopySlotsCall {
  /** [slots, ...], written in place. */
  readonly state: Operand;
  /** i32 [count, 2]: from, to. */
  readonly pairs: Operand;
  readonly faults: Faults;
}

/** Units that one invocation of the shader moves. */
const unitsPerInvocation = 4;

export const copySlots = opKernel<CopySlotsCall>({
  operands: 'stored',
  call: (op) => ({ state: op.input('state'), pairs: op.input('pairs'), faults: op.at.faults }),
  dispatch({ state, pairs, faults }) {
    const slotBytes = tensorBytes(state.dtype, [1, ...state.shape.slice(1)]);
    const unitBytes = [4, 2, 1].find((bytes) => slotBytes % bytes === 0)!;
    const units = (product(pairs.shape.slice(0, 1)) * slotBytes) / unitBytes;
    if (units === 0) return [];
    return [
      {
        pipeline: { shader: `copy-slots-${8 * unitBytes}`, constants: [workgroupSize] },
        arguments: [
          readWrite(state.place),
          read(pairs.place),
          read(faults),
          ...[units, slotBytes / unitBytes, state.shape[0]!].map(u32),
        ],
        groups: groupsFor(units, unitsPerInvocation),
        name: 'copySlots',
      },
    ];
  },
});
