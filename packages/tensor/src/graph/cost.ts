/** What nodes cost by their ops' declarations, and what they work on: for profiles, benchmarks and planners of any device. */
import { findOp } from '../op/index.js';
import { specBytes, type ConcreteSpec } from '../op/op.js';
import { resolveShape, type DimValues } from '../shape.js';
import type { Graph, Node } from './graph.js';
import { formatSpec } from './text.js';

export interface NodeCost {
  /** Floating-point operations, a multiply-add counted as two. */
  readonly flops: number;
  /** Bytes that must cross memory: as many as the op says, or all operands and new outputs once. */
  readonly bytes: number;
}

/** @throws UnicornError `usage/dims` when a symbolic dim of the node has no value */
export function nodeCost(node: Node, graph: Graph, dims: DimValues): NodeCost {
  const op = findOp(node.op);
  const concrete = (id: number): ConcreteSpec => {
    const { dtype, shape } = graph.values[id]!;
    return { dtype, shape: resolveShape(shape, dims) };
  };
  const inputs = Object.fromEntries(Object.entries(node.inputs).map(([name, id]) => [name, concrete(id)]));
  const outputs = node.outputs.filter((_, index) => op.aliases?.[index] === undefined).map(concrete);
  const touched = (): number =>
    [...Object.values(inputs), ...outputs].reduce((sum, spec) => sum + specBytes(spec), 0);
  return {
    flops: op.flops(inputs, node.attributes),
    bytes: op.bytes?.(inputs, node.attributes) ?? touched(),
  };
}

/**
 * What the nodes of one step work on, so that a profile tells steps of one name apart: the stored matrices that they read
 * (`2 q4_0[18944, 3584]` for a gated pair), or what the last node makes where they read none.
 *
 * @param nodes indices in `graph.nodes`
 */
export function workText(nodes: readonly number[], graph: Graph): string {
  const counts = new Map<string, number>();
  for (const id of nodes) {
    for (const input of Object.values(graph.nodes[id]!.inputs)) {
      const { source, shape } = graph.values[input]!;
      if (source.kind !== 'weight' || shape.length < 2) continue;
      const text = formatSpec({ dtype: source.stored.dtype, shape });
      counts.set(text, (counts.get(text) ?? 0) + 1);
    }
  }
  if (counts.size > 0) {
    return [...counts].map(([text, count]) => (count > 1 ? `${count} ${text}` : text)).join(' + ');
  }
  const made = graph.nodes[nodes.at(-1) ?? -1]?.outputs[0];
  return made === undefined ? '' : formatSpec(graph.values[made]!);
}
