/**
 * The graph IR: static-single-assignment nodes over typed tensors with symbolic dims. A graph is plain data; it knows
 * no device, no model and no weights' bytes. Built by {@link GraphBuilder}, printed by {@link printGraph}.
 */
import type { DType } from '../dtype.js';
import type { Shape } from '../shape.js';

export interface TensorSpec {
  readonly dtype: DType;
  readonly shape: Shape;
}

export type AttributeValue = number | string | boolean | readonly number[] | readonly string[];
export type Attributes = Readonly<Record<string, AttributeValue>>;

/** A part of a stored weight: some rows (of all leading axes flattened) and some leading columns of each. */
export interface WeightView {
  readonly rowStart: number;
  readonly rows: number;
  readonly columnStart: number;
  readonly columns: number;
}

/** Where a value comes from. */
export type ValueSource =
  | { readonly kind: 'input'; readonly name: string }
  | { readonly kind: 'state'; readonly name: string }
  | { readonly kind: 'constant'; readonly data: Float32Array | Int32Array }
  /** `stored` is the weight as the set holds it; `view`, when present, the part that this value is. */
  | {
      readonly kind: 'weight';
      readonly name: string;
      readonly stored: TensorSpec;
      readonly view?: WeightView;
    }
  | { readonly kind: 'node'; readonly node: number; readonly output: number };

export interface Value extends TensorSpec {
  /** Index into {@link Graph.values}. */
  readonly id: number;
  readonly source: ValueSource;
}

export interface Node {
  /** Index into {@link Graph.nodes}, which are in the order of execution. */
  readonly id: number;
  readonly op: string;
  /** Operand name to value id, in the order that the op declares. Absent optional operands are absent here. */
  readonly inputs: Readonly<Record<string, number>>;
  readonly attributes: Attributes;
  /** Value ids. */
  readonly outputs: readonly number[];
  /** The part of the model that the node belongs to, as plans, traces and overrides name it: `layer.12.attention`. */
  readonly scope?: string;
}

export interface Graph {
  readonly name: string;
  readonly values: readonly Value[];
  readonly nodes: readonly Node[];
  /** Output name to value id. The final version of every state is returned in place, not listed here. */
  readonly outputs: Readonly<Record<string, number>>;
}

/** The values of one kind of source, by name. */
export function namedValues(graph: Graph, kind: 'input' | 'state' | 'weight'): Map<string, Value[]> {
  const found = new Map<string, Value[]>();
  for (const value of graph.values) {
    if (value.source.kind !== kind) continue;
    const list = found.get(value.source.name);
    if (list) list.push(value);
    else found.set(value.source.name, [value]);
  }
  return found;
}

/** Every symbol used in a shape of the graph, sorted. */
export function symbolicDims(graph: Graph): string[] {
  const symbols = new Set<string>();
  for (const value of graph.values) {
    for (const dim of value.shape) if (typeof dim === 'string') symbols.add(dim);
  }
  return [...symbols].sort();
}

/** For each value id the id of the node that reads it last; a graph output is read after the last node. */
export function lastUses(graph: Graph): number[] {
  const last = graph.values.map((value) => (value.source.kind === 'node' ? value.source.node : -1));
  for (const node of graph.nodes) {
    for (const id of Object.values(node.inputs)) last[id] = Math.max(last[id]!, node.id);
  }
  for (const id of Object.values(graph.outputs)) last[id] = graph.nodes.length;
  return last;
}
