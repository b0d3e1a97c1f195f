/** Kernel of `kv-write.comp`: keys and values into their slots, encoded as `encodeKvRow` does. */
import { read, readWrite, u32 } from '../dispatch/dispatch.js';
import { opKernel } from './declaration.js';
import { groupsFor, product, workgroupSize } from './grid.js';
import type { Faults, Operand } from './operand.js';

export interface KvWriteCall {
  readonly state: Operand;
  /** f32 [tokens, kvHeads, headDim]. */
  readonly key: Operand;
  readonly value: Operand;
  /** i32 [tokens]. */
  readonly slots: Operand;
  readonly faults: Faults;
}

export const kvWrite = opKernel<KvWriteCall>({
  refuses: ({ inputs }) => (inputs.value === undefined ? 'kvWrite of keys alone' : undefined),
  call: (op) => ({
    state: op.input('state'),
    key: op.input('key'),
    value: op.input('value'),
    slots: op.input('slots'),
    faults: op.at.faults,
  }),
  dispatch({ state, key, value, slots, faults }) {
    const [blocks, , heads, blockTokens, headDim] = state.shape as [number, number, number, number, number];
    const count = 2 * product(key.shape);
    if (count === 0) return [];
    return [
      {
        pipeline: { shader: `kv-write-${state.dtype}`, constants: [workgroupSize] },
        arguments: [
          readWrite(state.place),
          read(key.place),
          read(value.place),
          read(slots.place),
          read(faults),
          u32(count),
          u32(heads),
          u32(headDim),
          u32(blocks),
          u32(blockTokens),
        ],
        groups: groupsFor(count),
        name: `kvWrite ${state.dtype}`,
      },
    ];
  },
});
