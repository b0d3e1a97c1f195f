/**
 * Cuts a graph in two at a layer boundary: nodes in front of it, nodes behind it, and the values that cross. Pure data in
 * and out; it knows no device, and of a model only which layer a weight belongs to.
 */
import {
  findOp,
  UnicornError,
  type Graph,
  type Node,
  type TensorSpec,
  type Value,
} from '@unicorn-exec/tensor';

/** Where a model is cut. */
export interface LayerCut {
  /** The first layer behind the cut. */
  readonly layer: number;
  /** The layer that a weight belongs to; undefined for those of none (embedding, final norm, head). */
  layerOf(weight: string): number | undefined;
}

/** A value that nodes in front compute and nodes behind read. */
export interface CrossingValue extends TensorSpec {
  /** The output of the part in front, the input of the part behind. */
  readonly name: string;
  /** The whole graph returns it too, so that its memory is the caller's. */
  readonly isOutput: boolean;
}

export interface GraphCut {
  /** Absent when no node is there. */
  readonly front?: Graph;
  readonly back?: Graph;
  readonly crossing: readonly CrossingValue[];
}

/**
 * The two parts of a graph. Inputs and weights that both read are inputs and weights of both; a state belongs to one.
 *
 * @throws UnicornError `unsupported/cut` when both parts use a state: the layer in front keeps keys and values that one
 * behind reads
 */
export function cutGraph(graph: Graph, cut: LayerCut): GraphCut {
  const behind = nodesBehind(graph, cut);
  expectStatesApart(graph, cut, behind);
  const isBehind = (id: number): boolean => {
    const { source } = graph.values[id]!;
    return source.kind !== 'node' || behind[source.node]!;
  };
  const outputs = Object.entries(graph.outputs);
  const crossing = new Map<number, CrossingValue>();
  for (const node of graph.nodes) {
    if (!behind[node.id]) continue;
    for (const id of Object.values(node.inputs)) {
      if (isBehind(id) || crossing.has(id)) continue;
      const { dtype, shape } = graph.values[id]!;
      const output = outputs.find(([, value]) => value === id)?.[0];
      const name = output ?? `cut.${id}`;
      crossing.set(id, { name, dtype, shape, isOutput: output !== undefined });
    }
  }
  const part = (wanted: boolean): Graph | undefined => {
    const nodes = graph.nodes.filter(({ id }) => behind[id] === wanted);
    if (nodes.length === 0) return undefined;
    if (nodes.length === graph.nodes.length) return graph;
    const named = outputs.filter(([, id]) => isBehind(id) === wanted);
    const handed = wanted ? [] : [...crossing].map(([id, { name }]) => [name, id] as const);
    return subgraph(graph, nodes, new Map([...named, ...handed]), crossing);
  };
  const [front, back] = [part(false), part(true)];
  return { ...(front ? { front } : {}), ...(back ? { back } : {}), crossing: [...crossing.values()] };
}

/** For each node whether it lies behind the cut. */
function nodesBehind(graph: Graph, cut: LayerCut): boolean[] {
  const first = firstBehind(graph, cut);
  const behind = graph.nodes.map(({ id }) => id >= first);
  const readers = graph.values.map((): number[] => []);
  for (const node of graph.nodes) for (const id of Object.values(node.inputs)) readers[id]!.push(node.id);
  const returned = new Set(Object.values(graph.outputs));
  // What the first layer behind only looks at (one of several streams) is picked there from what crosses anyway.
  for (let id = first - 1; id >= 0; id--) {
    const node = graph.nodes[id]!;
    const isRead = node.outputs.some((value) => readers[value]!.length > 0);
    const isMovable =
      isRead &&
      node.outputs.every(
        (value) => !returned.has(value) && readers[value]!.every((reader) => behind[reader]),
      ) &&
      Object.values(node.inputs).every((value) => {
        const { kind } = graph.values[value]!.source;
        if (kind !== 'node') return kind === 'input' || kind === 'constant';
        return readers[value]!.some((reader) => behind[reader]);
      });
    if (isMovable) behind[id] = true;
  }
  return behind;
}

/**
 * The first node that reads a weight of a layer behind the cut. Where none does (a size left those layers out, or nothing
 * is computed after them), the first that reads a weight of no layer after the layers in front.
 */
function firstBehind(graph: Graph, { layer, layerOf }: LayerCut): number {
  let afterLayers: number | undefined;
  for (const node of graph.nodes) {
    const layers = Object.values(node.inputs).flatMap((id) => {
      const { source } = graph.values[id]!;
      return source.kind === 'weight' ? [layerOf(source.name)] : [];
    });
    if (layers.some((one) => one !== undefined && one >= layer)) return node.id;
    if (layers.some((one) => one !== undefined)) afterLayers = undefined;
    else if (layers.length > 0) afterLayers ??= node.id;
  }
  return afterLayers ?? graph.nodes.length;
}

/** @throws UnicornError `unsupported/cut` */
function expectStatesApart(graph: Graph, { layer }: LayerCut, behind: readonly boolean[]): void {
  const sides = new Map<string, boolean>();
  for (const node of graph.nodes) {
    for (const id of Object.values(node.inputs)) {
      const state = stateOf(graph, id);
      if (state === undefined) continue;
      const side = behind[node.id]!;
      if ((sides.get(state) ?? side) !== side) {
        throw new UnicornError(
          'unsupported/cut',
          `The model cannot be cut before layer ${layer}: layers on both sides use the state "${state}".`,
          { fields: { layer, state }, fix: 'Cut it elsewhere.' },
        );
      }
      sides.set(state, side);
    }
  }
}

/** The name of the state that a value is a version of. */
function stateOf(graph: Graph, id: number): string | undefined {
  for (let value = graph.values[id]!; ;) {
    const { source } = value;
    if (source.kind === 'state') return source.name;
    if (source.kind !== 'node') return undefined;
    const node = graph.nodes[source.node]!;
    const operand = findOp(node.op).aliases?.[source.output];
    if (operand === undefined) return undefined;
    value = graph.values[node.inputs[operand]!]!;
  }
}

/** Some nodes as a graph of their own; values of other nodes that they read become inputs. */
function subgraph(
  graph: Graph,
  nodes: readonly Node[],
  outputs: ReadonlyMap<string, number>,
  crossing: ReadonlyMap<number, CrossingValue>,
): Graph {
  const values: Value[] = [];
  const valueIds = new Map<number, number>();
  const add = (id: number, source: Value['source']): number => {
    const { dtype, shape } = graph.values[id]!;
    valueIds.set(id, values.length);
    return values.push({ id: values.length, source, dtype, shape }) - 1;
  };
  const idOf = (id: number): number => {
    const known = valueIds.get(id);
    if (known !== undefined) return known;
    const { source } = graph.values[id]!;
    return add(id, source.kind === 'node' ? { kind: 'input', name: crossing.get(id)!.name } : source);
  };
  const kept = nodes.map((node, id): Node => {
    const inputs = Object.fromEntries(
      Object.entries(node.inputs).map(([operand, value]) => [operand, idOf(value)]),
    );
    const made = node.outputs.map((value, output) => add(value, { kind: 'node', node: id, output }));
    return { ...node, id, inputs, outputs: made };
  });
  return {
    name: graph.name,
    nodes: kept,
    outputs: Object.fromEntries([...outputs].map(([name, id]) => [name, idOf(id)])),
    values,
  };
}
