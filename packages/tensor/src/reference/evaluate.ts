/** Runs a graph node by node through each op's own reference evaluation. */
import { findOp } from '../op/index.js';
import { lastUses, type Graph } from '../graph/graph.js';
import { HostTensor } from '../host-tensor.js';
import { rowBytes } from '../dtype.js';
import { resolveShape, type DimValues } from '../shape.js';

export interface EvaluationInputs {
  /** Inputs and states by name; states are changed in place. */
  readonly tensors: Readonly<Record<string, HostTensor>>;
  weight(name: string): HostTensor;
}

/** A weight, or the part of it that the view names, over the same storage. */
function viewWeight(
  stored: HostTensor,
  view: { rowStart: number; rows: number; columnStart: number; columns: number } | undefined,
): HostTensor {
  if (!view) return stored;
  const byteOffset =
    stored.byteOffset + view.rowStart * stored.rowStrideBytes + rowBytes(stored.dtype, view.columnStart);
  return new HostTensor(
    stored.dtype,
    [view.rows, view.columns],
    stored.bytes,
    byteOffset,
    stored.rowStrideBytes,
  );
}

/**
 * Computes the outputs of a graph. Values are dropped after their last reader. Yields before each node, so that the caller
 * can time it, let the event loop run, or stop.
 */
export function* evaluateGraph(
  graph: Graph,
  inputs: EvaluationInputs,
  dims: DimValues,
): Generator<{ readonly op: string; readonly node: number }, Record<string, HostTensor>> {
  const last = lastUses(graph);
  const tensors: (HostTensor | undefined)[] = graph.values.map(({ source, dtype, shape }) => {
    switch (source.kind) {
      case 'input':
      case 'state':
        return inputs.tensors[source.name]!;
      case 'weight':
        return viewWeight(inputs.weight(source.name), source.view);
      case 'constant': {
        const { buffer, byteOffset, byteLength } = source.data;
        return new HostTensor(dtype, shape as number[], new Uint8Array(buffer, byteOffset, byteLength));
      }
      case 'node':
        return undefined;
    }
  });
  for (const node of graph.nodes) {
    yield { op: node.op, node: node.id };
    const op = findOp(node.op);
    const operands = Object.fromEntries(
      Object.entries(node.inputs).map(([name, id]) => [name, tensors[id]!]),
    );
    const outputs = node.outputs.map((id, index) => {
      const alias = op.aliases?.[index];
      if (alias !== undefined) return operands[alias]!;
      const { dtype, shape } = graph.values[id]!;
      return HostTensor.zeros(dtype, resolveShape(shape, dims));
    });
    op.evaluate({ inputs: operands, attributes: node.attributes, outputs });
    node.outputs.forEach((id, index) => (tensors[id] = outputs[index]));
    for (const id of [...Object.values(node.inputs), ...node.outputs]) {
      if (last[id]! <= node.id) tensors[id] = undefined;
    }
  }
  return Object.fromEntries(Object.entries(graph.outputs).map(([name, id]) => [name, tensors[id]!]));
}
