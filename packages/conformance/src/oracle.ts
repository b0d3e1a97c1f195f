/** The expected result of a problem: each node by its reference evaluation, with the error bounds carried along. */
import { findOp, HostTensor, lastUses, resolveShape, rowBytes, type Value } from '@unicorn-exec/tensor';
import { copyTensor, type Precision, type Problem } from './case.js';
import { boundRule } from './cases/index.js';
import type { Bounded, Errors } from './tolerance.js';

function weightTensor(problem: Problem, value: Value): HostTensor {
  const { source } = value;
  if (source.kind !== 'weight') throw new TypeError('not a weight');
  const entry = problem.weights.find(({ name }) => name === source.name)!;
  const bytes = entry.source.kind === 'bytes' ? entry.source.bytes : new Uint8Array();
  const stored = new HostTensor(entry.dtype, entry.shape, bytes);
  const { view } = source;
  if (!view) return stored;
  const byteOffset = view.rowStart * stored.rowStrideBytes + rowBytes(stored.dtype, view.columnStart);
  return new HostTensor(stored.dtype, [view.rows, view.columns], bytes, byteOffset, stored.rowStrideBytes);
}

/**
 * Outputs and final states by name, with bounds. The problem's tensors are left as they are.
 *
 * @throws UnicornError what the reference evaluation of an op throws on bad input
 */
export function expectedResults(problem: Problem, precision: Precision): Record<string, Bounded> {
  const { graph, dims } = problem;
  const last = lastUses(graph);
  const states = new Map<string, HostTensor>();
  const stateErrors = new Map<HostTensor, Errors>();
  const values: (Bounded | undefined)[] = graph.values.map((value) => {
    const { source, dtype, shape } = value;
    switch (source.kind) {
      case 'input':
        return { tensor: problem.tensors[source.name]!, errors: undefined };
      case 'state': {
        const tensor = copyTensor(problem.tensors[source.name]!);
        states.set(source.name, tensor);
        return { tensor, errors: undefined };
      }
      case 'weight':
        return { tensor: weightTensor(problem, value), errors: undefined };
      case 'constant': {
        const { buffer, byteOffset, byteLength } = source.data;
        const bytes = new Uint8Array(buffer, byteOffset, byteLength);
        return { tensor: new HostTensor(dtype, shape as number[], bytes), errors: undefined };
      }
      case 'node':
        return undefined;
    }
  });
  for (const node of graph.nodes) {
    const op = findOp(node.op);
    const inputs = Object.fromEntries(Object.entries(node.inputs).map(([name, id]) => [name, values[id]!]));
    const operands = Object.fromEntries(Object.entries(inputs).map(([name, { tensor }]) => [name, tensor]));
    const outputs = node.outputs.map((id, index) => {
      const alias = op.aliases?.[index];
      const { dtype, shape } = graph.values[id]!;
      return alias === undefined ? HostTensor.zeros(dtype, resolveShape(shape, dims)) : operands[alias]!;
    });
    op.evaluate({ inputs: operands, attributes: node.attributes, outputs });
    const errors = boundRule(node.op)({ inputs, attributes: node.attributes, outputs, precision });
    node.outputs.forEach((id, index) => {
      values[id] = { tensor: outputs[index]!, errors: errors[index] };
      if (op.aliases?.[index] !== undefined) stateErrors.set(outputs[index]!, errors[index]);
    });
    for (const id of Object.values(node.inputs)) if (last[id]! <= node.id) values[id] = undefined;
  }
  return {
    ...Object.fromEntries(Object.entries(graph.outputs).map(([name, id]) => [name, values[id]!])),
    ...Object.fromEntries(
      [...states].map(([name, tensor]) => [name, { tensor, errors: stateErrors.get(tensor) }]),
    ),
  };
}
