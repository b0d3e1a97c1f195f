/**
 * Makes the dispatches of a plan when the dims are known: calls the kernel of each step with its operands where they lie.
 * The same dims give the same dispatches.
 */
import { invariant } from '@unicorn-exec/tensor';
import { withChains } from '../dispatch/chain.js';
import { maximumGroups, type Dispatch } from '../dispatch/dispatch.js';
import { inlinesPreparing } from '../fusion/inlined-preparing.js';
import { inlinesHeads } from '../fusion/inlined-heads.js';
import type { Agreed, StepOperands } from '../kernel/declaration.js';
import { kernelOf } from '../kernel/kernels.js';
import { withPrefetches } from '../dispatch/prefetch.js';
import { PlacedOperands, type Placing } from './placed-operands.js';
import type { HeadsStep, Plan } from './plan.js';
import type { Target } from './target.js';
import type { WeightTable } from '../weights/weight-table.js';

/** One dispatch and the step that it is a part of. */
export interface StepDispatch extends Dispatch {
  readonly step: number;
}

export interface DispatchOptions extends Pick<Placing, 'dims' | 'keysOf' | 'gatheredAt'> {
  /** Whether steps may do each other's work. False where each is to be timed by itself. */
  readonly chains?: boolean;
}

/** All dispatches of a plan, in order. */
export function dispatchesOf(
  plan: Plan,
  weights: WeightTable,
  target: Target,
  { chains: mayChain, ...options }: DispatchOptions,
): StepDispatch[] {
  const { values, constantOffsets, precision, steps, memory } = plan;
  const placing = { values, constantOffsets, precision, weights, ...options };
  const at = (step: number, agreed?: Agreed): StepOperands =>
    new PlacedOperands(placing, step, memory[step]!, agreed);
  const { agreed, taken } = agreements(plan, target, at);
  const { table, traits } = target;
  const dispatches = steps.flatMap((step, index) => {
    if (taken.has(index)) return [];
    const kernel = kernelOf(step, table);
    return kernel.dispatch(kernel.call(step, at(index, agreed[index])), traits).map((dispatch) => {
      const { groups, name } = dispatch;
      invariant(
        groups.every((count) => Number.isInteger(count) && count > 0 && count <= maximumGroups),
        `The grid of ${name} is ${groups.join(' x ')}`,
      );
      return { ...dispatch, step: index };
    });
  });
  const { prefetch } = target;
  const isLarge = prefetch !== undefined && weights.byteLength >= prefetch.leastWeightBytes;
  const chains = target.chains === true && mayChain !== false;
  const bytes = isLarge ? prefetch[chains ? 'chainedBytes' : 'bytes'] : 0;
  const all = withPrefetches(dispatches, bytes, traits.computeUnits);
  return chains ? withChains(all) : all;
}

/** What kernels agree to at these dims, by step, and the steps that others do. */
function agreements(
  plan: Plan,
  target: Target,
  at: (step: number) => StepOperands,
): { readonly agreed: readonly Agreed[]; readonly taken: ReadonlySet<number> } {
  const agreed: Agreed[] = plan.steps.map(() => ({}));
  const taken = new Set<number>();
  const add = (step: number, what: Agreed): void => {
    agreed[step] = { ...agreed[step], ...what };
  };
  for (const inlined of plan.inlinedPreparing) {
    if (!inlinesPreparing(inlined, plan, target, at)) continue;
    add(inlined.attention, { quantizes: true });
    add(inlined.products, { prepared: true });
  }
  for (const inlined of plan.inlinedHeads) {
    if (!inlinesHeads(inlined, plan, target, at)) continue;
    add(inlined.attention, { heads: plan.steps[inlined.heads] as HeadsStep });
    taken.add(inlined.heads);
  }
  return { agreed, taken };
}
