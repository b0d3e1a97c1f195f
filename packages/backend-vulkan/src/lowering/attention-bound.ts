/**
 * Finds the inputs by which the host can bound how many keys an attention step sees: the largest position (or reach) of its
 * rows, where those come from an input through ops that only move elements.
 */
import type { AttentionStep } from '@unicorn-exec/lowering';
import { findOp, type Graph } from '@unicorn-exec/tensor';
import { sectionKeys } from '../kernel/attention-form.js';
import { kernelTable } from '../kernel/kernels.js';
import type { Plan } from './plan.js';

export interface KeyBound {
  /** Index of the binding whose largest element is the last key that any query sees. */
  readonly binding: number;
  readonly steps: readonly AttentionStep[];
}

/** The input that a value consists of elements of; undefined where it is computed. */
function inputOf(graph: Graph, id: number): string | undefined {
  const { source } = graph.values[id]!;
  if (source.kind === 'input') return source.name;
  if (source.kind !== 'node') return undefined;
  const node = graph.nodes[source.node]!;
  const operand = findOp(node.op).view?.[0] ?? kernelTable[node.op]?.handsOn;
  return operand === undefined ? undefined : inputOf(graph, node.inputs[operand]!);
}

/** Attention steps by the inputs that bound them; steps that none bounds are left out. */
export function attentionBounds({ graph, steps, bindings }: Plan): KeyBound[] {
  const bounds = new Map<number, AttentionStep[]>();
  for (const step of steps) {
    if (step.kind !== 'attention') continue;
    const name = inputOf(graph, step.reach ?? step.positions);
    if (name === undefined) continue;
    const binding = bindings.get(`input:${name}`)!;
    const known = bounds.get(binding);
    if (known) known.push(step);
    else bounds.set(binding, [step]);
  }
  return [...bounds].map(([binding, bounded]) => ({ binding, steps: bounded }));
}

/**
 * An upper bound of `keys` that few step lengths differ in: a power of two sections, or three quarters of one. Sections beyond
 * the last key are workgroups that find nothing to do.
 */
export function keyBucket(keys: number): number {
  let bucket = sectionKeys;
  while (bucket < keys) bucket *= 2;
  const less = 0.75 * bucket;
  return keys <= less && less % sectionKeys === 0 ? less : bucket;
}
