/**
 * Kernels of `attention-*.comp`: attention over the paged cache. `attention-form.ts` chooses the kernel of a call;
 * `attention-heads.ts` adds the heads before it where one kernel does both.
 */
import { attentionStep, type AttentionStep } from '@unicorn-exec/lowering';
import { chained } from '../dispatch/chain.js';
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
  type PipelineSpec,
  type Place,
} from '../dispatch/dispatch.js';
import type { AttentionCall } from './attention-call.js';
import {
  chainedDTypes,
  counterBytes,
  formOf,
  formOptions,
  isOneRowDispatch,
  keyVectors,
  maximumHeadDim,
  partialBytes,
  readsVectors,
  rowLanes,
  scratchBytes,
  shapeOf,
  type AttentionForm,
} from './attention-form.js';
import { headsArguments, headsConstants, takesHeads, type WholeHeads } from './attention-heads.js';
import { sharedStep, type StepKernel } from './declaration.js';
import { foldedGroups, product } from './grid.js';
import { heads, type HeadsCall } from './heads.js';
import { pinnedSubgroup } from './matmul-product.js';

export interface AttentionKernel extends StepKernel<AttentionStep, AttentionCall> {
  /** @param form for tests; chosen by the shapes otherwise */
  dispatch(call: AttentionCall, traits: DeviceTraits, form?: AttentionForm): Dispatch[];
  /** @param form for tests; chosen by the shapes otherwise */
  scratchBytes(call: AttentionCall, traits: DeviceTraits, form?: AttentionForm): number;
  counterBytes(call: AttentionCall, traits: DeviceTraits): number;
  /** Whether the result can be left as int8 products take it: by whole blocks of 32 columns, where it is finished. */
  quantizes(call: AttentionCall, traits: DeviceTraits): boolean;
  /** Whether the call can do `heads` before it, if they are those of its row. */
  takesHeads(call: AttentionCall, heads: HeadsCall, traits: DeviceTraits): boolean;
}

export const attention: AttentionKernel = {
  ...sharedStep,
  call(step, at) {
    const state = at.operand(step.state);
    const blocks = at.operand(step.blocks);
    const table = blocks.shape[1]! * state.shape[3]!;
    const reach = at.optional(step.reach);
    const { quantizes, heads: taken } = at.agreed;
    return {
      query: at.operand(step.query),
      state,
      positions: at.operand(step.positions),
      starts: at.operand(step.starts),
      blocks,
      ...(reach ? { reach } : {}),
      out: at.operand(step.out),
      ...(quantizes ? { quantizes } : {}),
      ...(taken ? { heads: heads.call(taken, at) } : {}),
      scale: step.scale,
      ...(step.window === undefined ? {} : { window: step.window }),
      ...(step.softcap === undefined ? {} : { softcap: step.softcap }),
      fast: at.precision === 'fast',
      keys: Math.min(table, at.keysOf(step) ?? table),
      scratch: at.scratch,
      counters: at.counters,
      faults: at.faults,
    };
  },
  dispatch: dispatches,
  scratchBytes,
  counterBytes,
  quantizes: (call, traits) => call.query.shape[2]! % 32 === 0 && isOneRowDispatch(call, traits),
  takesHeads: (call, before, traits) => takesHeads(call, before, traits) && isOneRowDispatch(call, traits),
  refuses({ inputs }, graph) {
    const headDim = graph.values[inputs.state!]!.shape[4];
    return typeof headDim === 'number' && headDim > maximumHeadDim
      ? `attention over heads of ${headDim}; at most ${maximumHeadDim} are supported`
      : undefined;
  },
  emit: (node, emitter) => emitter.push(attentionStep(node)),
};

function dispatches(call: AttentionCall, traits: DeviceTraits, form?: AttentionForm): Dispatch[] {
  const { query, state, positions, starts, blocks, reach, out, scale, window, softcap, keys, faults } = call;
  const shape = shapeOf(call);
  const { rows, queryHeads, headDim, sections } = shape;
  const [poolBlocks, parts, kvHeads, blockTokens] = state.shape as [number, number, number, number];
  if (product(query.shape) === 0) return [];
  const chosen = form ?? formOf(call, shape, traits);
  const lanes = rowLanes(headDim);
  const { constants, groups, counted } = formOptions(chosen, call, shape, traits);
  const merges = chosen === 'row' && sections > 1;
  const variant = chosen === 'row' ? `-${keyVectors(headDim, traits)}` : '';
  const pipeline: PipelineSpec = {
    shader: `attention-${chosen}-${state.dtype}${variant}`,
    constants: [
      256,
      headDim,
      lanes,
      Number(readsVectors(state)),
      Number(window !== undefined),
      Number(softcap !== undefined),
      parts,
      ...constants,
    ],
    // The size of a subgroup decides the order of sums, so it is part of the pipeline.
    ...pinnedSubgroup(chosen === 'matrix' ? { ...traits, subgroupSize: 32 } : traits),
  };
  const partials: Place | undefined = merges
    ? { ...call.scratch, byteLength: partialBytes(shape) }
    : undefined;
  const name = `attention${call.quantizes ? '+prepare int8' : ''} ${state.dtype}`;
  if (call.heads) {
    const heads = call.heads as WholeHeads;
    const withHeads: Dispatch = {
      pipeline: {
        ...pipeline,
        shader: `${pipeline.shader}-heads`,
        constants: [...pipeline.constants, ...headsConstants(call, heads, traits)],
      },
      arguments: headsArguments(call, heads, { partials, counters: counted ? call.counters : undefined }),
      groups,
      name: `heads+${name}`,
    };
    return [{ ...withHeads, chained: chained(withHeads, [...withHeads.arguments, { kind: 'before' }]) }];
  }
  const dispatch: Dispatch = {
    pipeline,
    arguments: [
      read(query.place),
      read(state.place),
      early(read(positions.place)),
      early(read(starts.place)),
      early(read(blocks.place)),
      early(optional(reach?.place)),
      merges && !counted ? { kind: 'null' } : write(out.place),
      partials ? readWrite(partials) : { kind: 'null' },
      counted ? readWrite(call.counters) : { kind: 'null' },
      read(faults),
      u32(rows),
      u32(queryHeads),
      u32(kvHeads),
      u32(product(starts.shape)),
      u32(blocks.shape[1]!),
      u32(poolBlocks),
      u32(blockTokens),
      u32(keys),
      u32(window ?? 0),
      f32(scale),
      f32(softcap ?? 1),
      u32(chosen === 'row' ? sections : 1),
    ],
    groups,
    name: `${name}${chosen === 'row' ? '' : chosen === 'tile' ? ' tiles' : ' matrices'}`,
  };
  const isChainable = chosen === 'row' && chainedDTypes.includes(state.dtype);
  // Its last argument is the number of sections, which the grid has too.
  const first: Dispatch = isChainable
    ? { ...dispatch, chained: chained(dispatch, [...dispatch.arguments.slice(0, -1), { kind: 'before' }]) }
    : dispatch;
  if (!partials || counted) return [first];
  const lines = rows * queryHeads;
  const merge: Dispatch = {
    pipeline: { shader: 'attention-merge', constants: [Math.min(128, Math.max(32, 8 * lanes))] },
    arguments: [read(partials), write(out.place), u32(lines), u32(headDim), u32(sections)],
    groups: foldedGroups(lines),
    name: 'attention merge',
  };
  return [first, merge];
}
