/**
 * Inlining of heads into the attention right after them, where nothing else reads their queries and state. Whether attention
 * does them itself follows from the dims: {@link inlinesHeads}.
 */
import type { PlannedValue } from '@unicorn-exec/lowering';
import type { StepOperands } from '../kernel/declaration.js';
import type { InlinedHeads, Plan, Step } from '../lowering/plan.js';
import type { Target } from '../lowering/target.js';

/** @param reads values that each step reads */
export function findInlinedHeads(
  steps: readonly Step[],
  reads: readonly (readonly number[])[],
  values: readonly PlannedValue[],
): InlinedHeads[] {
  const readers = new Map<number, number>();
  for (const id of reads.flat()) {
    const { root } = values[id]!;
    readers.set(root, (readers.get(root) ?? 0) + 1);
  }
  return steps.flatMap((step, attention): InlinedHeads[] => {
    const heads = attention - 1;
    const before = steps[heads];
    if (step.kind !== 'attention' || before?.kind !== 'heads') return [];
    const { query, stored } = before;
    const out = query && values[query.out]!;
    if (!stored || stored.out !== step.state || query?.out !== step.query) return [];
    if (out!.storage.kind !== 'arena' || readers.get(out!.root) !== 1) return [];
    return [{ heads, attention }];
  });
}

/**
 * Whether attention does the heads before it, at the dims of these operands.
 *
 * @param at operands of a step, by its index
 */
export function inlinesHeads(
  { heads, attention }: InlinedHeads,
  { steps }: Plan,
  { table, traits }: Target,
  at: (step: number) => StepOperands,
): boolean {
  const [first, second] = [steps[heads]!, steps[attention]!];
  if (first.kind !== 'heads' || second.kind !== 'attention') return false;
  const call = table.attention.call(second, at(attention));
  return table.attention.takesHeads(call, table.heads.call(first, at(heads)), traits);
}
