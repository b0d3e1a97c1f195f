/** Which storage each value of a graph lives in, and where in it: reshape and whole-axis slices are views, not copies. */
import { dtypeLayout, elementCount, findOp } from '@unicorn-exec/tensor';
import type { Dim, Graph, Node, Signature, Value, WeightView } from '@unicorn-exec/tensor';
import type { PlannedValue, Storage, Term } from './plan.js';

/** An element count with symbols: equal keys are equal counts. */
export function countKey(shape: readonly Dim[]): string {
  const symbols = shape.filter((dim) => typeof dim === 'string').sort();
  return [shape.reduce<number>((a, dim) => (typeof dim === 'number' ? a * dim : a), 1), ...symbols].join('*');
}

function wholeWeight(value: Value): WeightView {
  const shape = value.shape as readonly number[];
  return {
    rowStart: 0,
    rows: elementCount(shape.slice(0, -1)),
    columnStart: 0,
    columns: shape.at(-1) ?? 1,
  };
}

function sourceStorage(value: Value, bindings: ReadonlyMap<string, number>): Storage {
  const { source } = value;
  switch (source.kind) {
    case 'input':
    case 'state':
      return { kind: 'binding', index: bindings.get(`${source.kind}:${source.name}`)! };
    case 'constant':
      return { kind: 'constant', data: source.data };
    case 'weight':
      return { kind: 'weight', name: source.name };
    case 'node':
      return { kind: 'arena' };
  }
}

/** The part of `x` that a slice is, when it is dense: nothing is split off on an axis outside the sliced one. */
function sliceView(
  node: Node,
  x: PlannedValue,
): { offset: readonly Term[]; view?: WeightView | undefined } | undefined {
  const { axis, start, count } = node.attributes as { axis: number; start: number; count: number };
  if (!x.shape.slice(0, axis).every((dim) => dim === 1)) return undefined;
  const inner = x.shape.slice(axis + 1);
  if (x.view) {
    // Bytes of a weight are counted by the addon, which may hold it decoded: the part stays rows and columns.
    const { view } = x;
    if (axis === x.shape.length - 1) {
      return view.rows === 1
        ? { offset: [], view: { ...view, columnStart: view.columnStart + start, columns: count } }
        : undefined;
    }
    if (inner.at(-1) !== view.columns) return undefined;
    const rows = elementCount(inner.slice(0, -1) as readonly number[]);
    return {
      offset: [],
      view: { ...view, rowStart: view.rowStart + start * rows, rows: count * rows },
    };
  }
  const layout = dtypeLayout(x.dtype);
  if (layout.blockSize > 1) return undefined;
  if (start === 0) return { offset: x.offset };
  const numbers = inner.reduce<number>((a, dim) => (typeof dim === 'number' ? a * dim : a), 1);
  const symbols = inner.filter((dim) => typeof dim === 'string');
  return { offset: [...x.offset, { bytes: start * numbers * layout.blockBytes, symbols }] };
}

/** `input:name`, `output:name` and `state:name` to the index of the binding, in the order of resolved bindings. */
export function bindingIndices({ inputs, outputs, state }: Signature): ReadonlyMap<string, number> {
  const indices = new Map<string, number>();
  for (const [role, specs] of Object.entries({ input: inputs, output: outputs, state })) {
    for (const name of Object.keys(specs)) indices.set(`${role}:${name}`, indices.size);
  }
  return indices;
}

/** @param bindings `input:name` or `state:name` to the index of the binding */
export function placeValues(graph: Graph, bindings: ReadonlyMap<string, number>): PlannedValue[] {
  const values = graph.values.map((value): PlannedValue => {
    const { id, dtype, shape, source } = value;
    const view = source.kind === 'weight' ? { view: source.view ?? wholeWeight(value) } : {};
    return { id, dtype, shape, root: id, offset: [], storage: sourceStorage(value, bindings), ...view };
  });
  for (const node of graph.nodes) {
    const op = findOp(node.op);
    node.outputs.forEach((id, index) => {
      const operand = op.aliases?.[index] ?? op.view?.[index];
      const source = operand ?? (node.op === 'slice' ? 'x' : undefined);
      if (source === undefined) return;
      const x = values[node.inputs[source]!]!;
      const part = operand === undefined ? sliceView(node, x) : { offset: x.offset, view: x.view };
      if (!part) return;
      const { dtype, shape } = graph.values[id]!;
      const view = part.view ? { view: part.view } : {};
      values[id] = { id, dtype, shape, root: x.root, offset: part.offset, storage: x.storage, ...view };
    });
  }
  return values;
}

/** True when a node only renames storage. */
export function isView(node: Node, values: readonly PlannedValue[]): boolean {
  // What writes a state in place has the state's storage, and computes something all the same.
  if (findOp(node.op).aliases) return false;
  return values[node.outputs[0]!]!.root !== node.outputs[0];
}
