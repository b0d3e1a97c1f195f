/** Kernels of `rope.comp`: the table of a step's cosines and sines, and the turning of heads by it. */
import { f32, read, u32, write, type Dispatch } from '../dispatch.js';
import { groupsFor, product, workgroupSize } from './grid.js';
import type { RopeCall, RopeTableCall } from './operand.js';

export function ropeTable({ positions, frequencies, out, magnitude }: RopeTableCall): Dispatch[] {
  const pairs = product(frequencies.shape);
  const count = product(positions.shape) * pairs;
  if (count === 0) return [];
  return [
    {
      kernel: { shader: 'rope-table', constants: [workgroupSize] },
      arguments: [
        read(positions.place),
        read(frequencies.place),
        write(out.place),
        u32(count),
        u32(pairs),
        f32(magnitude),
      ],
      groups: groupsFor(count),
      name: 'rope table',
    },
  ];
}

export function rope({ x, table, out, layout }: RopeCall): Dispatch[] {
  const [tokens, heads, headDim] = x.shape as [number, number, number];
  const pairs = table.shape.at(-1)!;
  // An invocation for each pair and for each element that passes through.
  const count = tokens * heads * (headDim - pairs);
  if (count === 0) return [];
  return [
    {
      kernel: { shader: 'rope', constants: [workgroupSize, Number(layout === 'interleaved')] },
      arguments: [
        read(x.place),
        read(table.place),
        write(out.place),
        u32(count),
        u32(heads),
        u32(headDim),
        u32(pairs),
      ],
      groups: groupsFor(count),
      name: 'rope',
    },
  ];
}
