/** What a node costs by its op's own declaration: for profiles, benchmarks and planners. No device's speed is in it. */
import { findOp } from '../op/index.js';
import { specBytes, type ConcreteSpec } from '../op/op.js';
import { resolveShape, type DimValues } from '../shape.js';
import type { Graph, Node } from './graph.js';

export interface NodeCost {
  /** Floating-point operations, a multiply-add counted as two. */
  readonly flops: number;
  /** Bytes that must cross memory: as the op says, or all operands and new outputs once. */
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
