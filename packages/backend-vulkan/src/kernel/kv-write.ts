/** Kernel of `kv-write.comp`: keys and values into their slots, encoded as `encodeKvRow` does. */
import { read, readWrite, u32, type Dispatch } from '../dispatch.js';
import { groupsFor, product, workgroupSize } from './grid.js';
import type { KvWriteCall } from './operand.js';

export function kvWrite({ state, key, value, slots, faults }: KvWriteCall): Dispatch[] {
  const [blocks, , heads, blockTokens, headDim] = state.shape as [number, number, number, number, number];
  const count = 2 * product(key.shape);
  if (count === 0) return [];
  return [
    {
      kernel: { shader: `kv-write-${state.dtype}`, constants: [workgroupSize] },
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
}
