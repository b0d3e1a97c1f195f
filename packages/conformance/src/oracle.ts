/** The expected result of a problem: each node by its reference evaluation, with the error bounds carried along. */
import { findOp, HostTensor, lastUses, resolveShape, rowBytes, type Value } from '@unicorn-exec/tensor';
import { copyTensor, type Problem } from './case.js';
import { opSuite } from './cases/index.js';
import type { ProductFormat } from './product-format.js';
import type { Bounded, Errors } from './bound.js';

function weightValue(problem: Problem, value: Value, { weights }: ProductFormat): Bounded {
  const { source } = value;
  if (source.kind !== 'weight') throw new TypeError('not a weight');
  const entry = problem.weights.find(({ name }) => name === source.name)!;
  const bytes = entry.source.kind === 'bytes' ? entry.source.bytes : new Uint8Array();
  const stored = new HostTensor(entry.dtype, entry.shape, bytes);
  const { view } = source;
  const byteOffset = view
    ? view.rowStart * stored.rowStrideBytes + rowBytes(stored.dtype, view.columnStart)
    : 0;
  const tensor = view
    ? new HostTensor(stored.dtype, [view.rows, view.columns], bytes, byteOffset, stored.rowStrideBytes)
    : stored;
  if (!weights) return { tensor, errors: undefined };
  return { tensor, errors: undefined, rowTops: largestOfRows(stored, view?.rowStart ?? 0, tensor.rows) };
}

/** The largest magnitude of each of some rows. */
function largestOfRows(tensor: HostTensor, rowStart: number, rows: number): Float64Array {
  const line = new Float32Array(tensor.columns);
  return Float64Array.from({ length: rows }, (_, row) => {
    tensor.decodeRow(rowStart + row, line);
    return line.reduce((top, value) => Math.max(top, Math.abs(value)), 0);
  });
}

export interface ExpectedResults {
  /** Outputs and final states by name, with bounds. */
  readonly results: Readonly<Record<string, Bounded>>;
  /** Mean squared error over mean square that storing its operands is expected to add to the noisiest product. */
  readonly storing: number;
}

/**
 * The results that a device which stores the operands of products in `format` must give, with their bounds. The problem's
 * tensors are left as they are.
 *
 * @throws UnicornError what the reference evaluation of an op throws on bad input
 */
export function expectedResults(problem: Problem, format: ProductFormat): ExpectedResults {
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
        return weightValue(problem, value, format);
      case 'constant': {
        const { buffer, byteOffset, byteLength } = source.data;
        const bytes = new Uint8Array(buffer, byteOffset, byteLength);
        return { tensor: new HostTensor(dtype, shape as number[], bytes), errors: undefined };
      }
      case 'node':
        return undefined;
    }
  });
  let storing = 0;
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
    const context = { inputs, attributes: node.attributes, outputs, format };
    const { bound, storing: storingOf } = opSuite(node.op);
    const errors = bound(context);
    // Operands that are not finite bound nothing: elements of the outputs that are finite have bounds of their own.
    const added = storingOf?.(context) ?? 0;
    if (!Number.isNaN(added)) storing = Math.max(storing, added);
    node.outputs.forEach((id, index) => {
      values[id] = { tensor: outputs[index]!, errors: errors[index] };
      if (op.aliases?.[index] !== undefined) stateErrors.set(outputs[index]!, errors[index]);
    });
    for (const id of Object.values(node.inputs)) if (last[id]! <= node.id) values[id] = undefined;
  }
  const results = {
    ...Object.fromEntries(Object.entries(graph.outputs).map(([name, id]) => [name, values[id]!])),
    ...Object.fromEntries(
      [...states].map(([name, tensor]) => [name, { tensor, errors: stateErrors.get(tensor) }]),
    ),
  };
  return { results, storing };
}
