/**
 * Inlining of the preparation of activations into the attention before it: where only the next products read a result of
 * attention, it may leave that in the form which they take. Whether it does follows from the dims, as the forms of the
 * products do: {@link inlinesPreparing}.
 */
import { countKey, type PlannedValue } from '@unicorn-exec/lowering';
import type { StepOperands } from '../kernel/declaration.js';
import type { InlinedPreparing, Plan, Step } from '../lowering/plan.js';
import type { Target } from '../lowering/target.js';

interface Access {
  readonly reads: readonly number[];
  readonly writes: readonly number[];
}

/** @param accesses values that each step reads and writes */
export function findInlinedPreparing(
  steps: readonly Step[],
  accesses: readonly Access[],
  values: readonly PlannedValue[],
): InlinedPreparing[] {
  const rootsOf = (ids: readonly number[]): number[] => ids.map((id) => values[id]!.root);
  const reads = accesses.flatMap((access) => rootsOf(access.reads));
  const isWhole = ({ root, offset, shape }: PlannedValue): boolean =>
    offset.length === 0 && countKey(shape) === countKey(values[root]!.shape);
  return steps.flatMap((step, products): InlinedPreparing[] => {
    if (step.kind !== 'matmul' || !step.quantized || step.norm || step.join) return [];
    const x = values[step.x]!;
    const { root } = x;
    if (values[root]!.storage.kind !== 'arena' || !isWhole(x)) return [];
    if (reads.filter((other) => other === root).length !== 1) return [];
    const attention = accesses.findIndex(({ writes }) => rootsOf(writes).includes(root));
    return steps[attention]?.kind === 'attention' ? [{ attention, products }] : [];
  });
}

/**
 * Whether both kernels agree to it, at the dims of these operands.
 *
 * @param at operands of a step, by its index
 */
export function inlinesPreparing(
  { attention, products }: InlinedPreparing,
  { steps }: Plan,
  { table, traits }: Target,
  at: (step: number) => StepOperands,
): boolean {
  const [maker, reader] = [steps[attention]!, steps[products]!];
  if (maker.kind !== 'attention' || reader.kind !== 'matmul') return false;
  return (
    table.matmul.takesPrepared(table.matmul.call(reader, at(products)), traits) &&
    table.attention.quantizes(table.attention.call(maker, at(attention)), traits)
  );
}
