/**
 * Kernel of `heads.comp`: all that lies between a layer's products and its attention, in one dispatch. Its plain twins are
 * `rmsNorm`, `rope` and `kvWrite`, whose bits it gives.
 */
import { definedIds, type StepText } from '@unicorn-exec/lowering';
import { chained } from '../dispatch/chain.js';
import { early, f32, optional, read, readWrite, u32, write, type Dispatch } from '../dispatch/dispatch.js';
import type { HeadsStep, PlannedHeads } from '../lowering/plan.js';
import { readOnce, type StepKernel, type StepOperands } from './declaration.js';
import { foldedGroups } from './grid.js';
import { elementsPerInvocation, workgroupFor } from './norm.js';
import type { Faults, Operand } from './operand.js';

/** Heads as a product left them, f32 [tokens, heads, headDim], and what is done with each. */
export interface HeadPart {
  readonly x: Operand;
  readonly normed: boolean;
  /** f32 [headDim]: of the norm. */
  readonly weight?: Operand;
  readonly turned: boolean;
}

/** rmsNorm, rope and kvWrite of the heads of one layer. At least one of `query` and `stored`; headDim at most 512. */
export interface HeadsCall {
  /** `out` may be x's place. */
  readonly query?: HeadPart & { readonly out: Operand };
  /** As many rows as `query` has. */
  readonly stored?: {
    readonly key: HeadPart;
    readonly value: HeadPart;
    readonly state: Operand;
    /** i32 [tokens]. */
    readonly slots: Operand;
  };
  /** Epsilon of all norms. */
  readonly epsilon: number;
  readonly weightOffset: number;
  /** What {@link RopeTableCall} wrote. Present where a part is turned. */
  readonly rope?: { readonly table: Operand; readonly layout: 'half' | 'interleaved' };
  readonly faults: Faults;
}

/** The widest head: 128 invocations, which every Vulkan device has, hold four elements each in registers. */
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

function partAt({ x, normed, weight, turned }: PlannedHeads, at: StepOperands): HeadPart {
  return {
    x: at.operand(x),
    normed,
    ...(weight === undefined ? {} : { weight: at.operand(weight) }),
    turned,
  };
}

const partsOf = ({ query, stored }: HeadsStep): (PlannedHeads | undefined)[] => [
  query,
  stored?.key,
  stored?.value,
];

function reads(step: HeadsStep): number[] {
  const parts = partsOf(step).flatMap((part) => [part?.x, part?.weight]);
  return definedIds([...parts, step.stored?.state, step.stored?.slots, step.rope?.table]);
}

function lines({ query, stored, rope }: HeadsStep, text: StepText): string[] {
  const part = ({ x, normed, weight, turned }: PlannedHeads): string => {
    const own = normed ? `rmsNorm(${text.value(x)}, ${text.value(weight)})` : text.value(x);
    return turned ? `rope(${own}, ${text.value(rope?.table)})` : own;
  };
  return [
    ...(query ? [`${text.spec(query.out)} = ${part(query)}`] : []),
    ...(stored
      ? [
          `${text.spec(stored.out)} = kvWrite(${part(stored.key)}, ${part(stored.value)}, ${text.value(stored.slots)})`,
        ]
      : []),
  ];
}

export const heads: StepKernel<HeadsStep, HeadsCall> = {
  call({ query, stored, epsilon, weightOffset, rope }, at) {
    return {
      ...(query ? { query: { ...partAt(query, at), out: at.operand(query.out) } } : {}),
      ...(stored
        ? {
            stored: {
              key: partAt(stored.key, at),
              value: partAt(stored.value, at),
              state: at.operand(stored.state),
              slots: at.operand(stored.slots),
            },
          }
        : {}),
      epsilon,
      weightOffset,
      ...(rope ? { rope: { table: at.operand(rope.table), layout: rope.layout } } : {}),
      faults: at.faults,
    };
  },
  dispatch(call, traits) {
    const { query, stored, rope, epsilon, weightOffset, faults } = call;
    const [rows, , headDim] = (query ?? stored!.key).x.shape as [number, number, number];
    const queryHeads = query?.x.shape[1] ?? 0;
    const kvHeads = stored?.key.x.shape[1] ?? 0;
    const lines = rows * (queryHeads + 2 * kvHeads);
    if (lines === 0 || headDim === 0) return [];
    const size = workgroupFor(headDim, traits);
    const [blocks, , , blockTokens] = stored?.state.shape ?? [0, 0, 0, 1];
    const dispatch: Dispatch = {
      pipeline: {
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
  },
  reads,
  writes: ({ query, stored }) => definedIds([query?.out, stored?.out]),
  overwritable: (step, _, values) => readOnce([step.query?.x], reads(step), values),
  nodes: ({ nodes }) => nodes,
  title(step) {
    const parts = partsOf(step);
    const names = [
      ...(parts.some((part) => part?.normed) ? ['rmsNorm'] : []),
      ...(parts.some((part) => part?.turned) ? ['rope'] : []),
      ...(step.stored ? ['kvWrite'] : []),
    ];
    return names.join('+');
  },
  describe: (step, text) => ['heads', ...lines(step, text)],
};
