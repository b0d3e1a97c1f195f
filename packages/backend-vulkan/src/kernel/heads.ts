/**
 * Kernel of `heads.comp`: what lies between a layer's products and its attention, in one dispatch. Its plain twins are
 * `rmsNorm`, `rope` and `kvWrite`, whose bits it gives.
 */
import { chained } from '../chain.js';
import {
  early,
  f32,
  optional,
  read,
  readWrite,
  u32,
  write,
  type DeviceTraits,
  type Dispatch,
} from '../dispatch.js';
import { foldedGroups } from './grid.js';
import { elementsPerInvocation, workgroupFor } from './norm.js';
import type { HeadPart, HeadsCall } from './operand.js';

/** What every device's workgroups hold in registers: 128 invocations, which Vulkan demands, times four elements. */
export const largestHeadDim = 512;

/** NORMED, WEIGHTED and TURNED in the shader. */
function partForm(part: HeadPart | undefined): number {
  if (!part) return 0;
  return Number(part.normed) | (Number(part.weight !== undefined) << 1) | (Number(part.turned) << 2);
}

/** `form` of the shader: what is done with queries, keys and values. */
export function formOf({ query, stored }: HeadsCall): number {
  return partForm(query) | (partForm(stored?.key) << 3) | (partForm(stored?.value) << 6);
}

export function heads(call: HeadsCall, traits: DeviceTraits): Dispatch[] {
  const { query, stored, rope, epsilon, weightOffset, faults } = call;
  const [rows, , headDim] = (query ?? stored!.key).x.shape as [number, number, number];
  const queryHeads = query?.x.shape[1] ?? 0;
  const kvHeads = stored?.key.x.shape[1] ?? 0;
  const lines = rows * (queryHeads + 2 * kvHeads);
  if (lines === 0 || headDim === 0) return [];
  const size = workgroupFor(headDim, traits);
  const [blocks, , , blockTokens] = stored?.state.shape ?? [0, 0, 0, 1];
  const dispatch: Dispatch = {
    kernel: {
      shader: `heads-${stored?.state.dtype ?? 'f32'}`,
      constants: [size, formOf(call), Number(rope?.layout === 'interleaved'), size * elementsPerInvocation],
    },
    arguments: [
      optional(query?.x.place),
      query ? write(query.out.place) : { kind: 'null' },
      optional(stored?.key.x.place),
      optional(stored?.value.x.place),
      stored ? readWrite(stored.state.place) : { kind: 'null' },
      early(optional(stored?.slots.place)),
      read(faults),
      early(optional(rope?.table.place)),
      early(optional(query?.weight?.place)),
      early(optional(stored?.key.weight?.place)),
      early(optional(stored?.value.weight?.place)),
      u32(rows),
      u32(queryHeads),
      u32(kvHeads),
      u32(headDim),
      u32(rope?.table.shape.at(-1) ?? 0),
      u32(blocks!),
      u32(blockTokens!),
      f32(epsilon),
      f32(weightOffset),
    ],
    groups: foldedGroups(lines),
    name: stored ? `heads ${stored.state.dtype}` : 'heads',
  };
  return [{ ...dispatch, chained: chained(dispatch, [...dispatch.arguments, { kind: 'before' }]) }];
}
