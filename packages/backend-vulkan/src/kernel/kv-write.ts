/** Kernel of `kv-write.comp`: keys and values into their slots, encoded as `encodeKvRow` does. */
import { optional, read, readWrite, u32 } from '../dispatch/dispatch.js';
import { opKernel } from './declaration.js';
import { groupsFor, product, workgroupSize } from './grid.js';
import type { Faults, Operand } from './operand.js';

export interface KvWriteCall {
  readonly state: Operand;
  /** f32 [tokens, kvHeads, headDim]. */
  readonly key: Operand;
  /** Absent where the state stores keys alone. */
  readonly value?: Operand;
  /** i32 [tokens]. */
  readonly slots: Operand;
  readonly faults: Faults;
}

export const kvWrite = opKernel<KvWriteCall>({
  call(op) {
    const value = op.optionalInput('value');
    return {
      state: op.input('state'),
      key: op.input('key'),
      ...(value ? { value } : {}),
      slots: op.input('slots'),
      faults: op.at.faults,
    };
  },
  dispatch({ state, key, value, slots, faults }) {
    const [blocks, parts, heads, blockTokens, headDim] = state.shape as [
      number,
      number,
      number,
      number,
      number,
    ];
    const count = parts * product(key.shape);
    if (count === 0) return [];
    return [
      {
        pipeline: { shader: `kv-write-${state.dtype}`, constants: [workgroupSize] },
        arguments: [
          readWrite(state.place),
          read(key.place),
          optional(value?.place),
          read(slots.place),
          read(faults),
          u32(count),
          u32(parts),
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
