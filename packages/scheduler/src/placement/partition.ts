/**
 * Cuts a graph over several devices: every node goes where it is placed, and nodes of one device that can run in one go
 * become a part, a graph of its own. Pure data in and out; it knows no device and no model.
 *
 * The parts are found by draining: of all nodes whose operands are there, those of one device are taken until none is
 * left, then the next device's. A state may be used by parts of several devices: a reader of a version comes before the
 * node that overwrites it, wherever the two are.
 */
import {
  findOp,
  graphSignature,
  invariant,
  UnicornError,
  type Graph,
  type Node,
  type TensorSpec,
  type Value,
} from '@unicorn-exec/tensor';

/** For each node of a graph the index of its device. */
export type NodePlaces = readonly number[];

/** Nodes that one device runs in one submission. */
export interface GraphPart {
  /** Index of the device. */
  readonly device: number;
  readonly graph: Graph;
  /** Indices of the parts that must have ended before, ascending; all are smaller than the part's own. */
  readonly after: readonly number[];
}

/** A value that one part computes and others read. */
export interface CrossingValue extends TensorSpec {
  /** An output of the part that computes it, an input of those that read it. */
  readonly name: string;
  /** The whole graph returns it too, so that its memory is the caller's. */
  readonly isOutput: boolean;
  /** Index of the part that computes it. */
  readonly from: number;
  /** Indices of the parts that read it. */
  readonly to: readonly number[];
}

/** A graph in parts, in an order in which they can run one after the other. */
export interface Partition {
  readonly parts: readonly GraphPart[];
  readonly crossings: readonly CrossingValue[];
}

/**
 * Inputs and weights that several parts read are inputs and weights of each; so are states.
 *
 * @throws UnicornError `usage/placement` when `places` does not name a device for each node
 */
export function partition(graph: Graph, places: NodePlaces): Partition {
  expectPlaces(graph, places);
  const groups = drained(graph, places);
  const partOf = new Array<number>(graph.nodes.length).fill(0);
  groups.forEach(({ nodes }, part) => nodes.forEach((id) => (partOf[id] = part)));
  const crossings = crossingValues(graph, partOf);
  const predecessors = nodePredecessors(graph);
  return {
    parts: groups.map(({ device, nodes }, part) => {
      const before = nodes.flatMap((id) => predecessors[id]!.map((one) => partOf[one]!));
      const after = [...new Set(before)].filter((one) => one !== part).sort((a, b) => a - b);
      const whole = nodes.length === graph.nodes.length;
      return {
        device,
        after,
        graph: whole
          ? graph
          : subgraph(graph, nodes, outputsOf(graph, part, partOf, groups.length, crossings), crossings),
      };
    }),
    crossings: [...crossings.values()],
  };
}

/**
 * @param devices how many there are, where that is known
 * @throws UnicornError `usage/placement` when `places` does not name a device for each node
 */
export function expectPlaces(graph: Graph, places: NodePlaces, devices = Number.MAX_SAFE_INTEGER): void {
  const given = Array.isArray(places) ? (places as readonly unknown[]) : [];
  const isPlace = (place: unknown): boolean =>
    Number.isSafeInteger(place) && (place as number) >= 0 && (place as number) < devices;
  const wrong = graph.nodes.find(({ id }) => !isPlace(given[id]));
  if (!wrong && given.length === graph.nodes.length) return;
  const sentence = wrong
    ? `Node ${wrong.id} (${wrong.op}) of "${graph.name}" is placed on ${String(given[wrong.id])}, which is not the index of a device.`
    : `"${graph.name}" has ${graph.nodes.length} nodes; ${given.length} were placed.`;
  throw new UnicornError('usage/placement', sentence, {
    fields: { graph: graph.name, nodes: graph.nodes.length, ...(wrong ? { node: wrong.id } : {}) },
    fix: 'Return the index of a device for each node of the graph.',
  });
}

/** The states that nodes of more than one device use, in the graph's order. */
export function sharedStates(graph: Graph, places: NodePlaces): string[] {
  const devices = new Map<string, Set<number>>();
  for (const node of graph.nodes) {
    for (const id of Object.values(node.inputs)) {
      const state = stateOf(graph, id);
      if (state === undefined) continue;
      const users = devices.get(state) ?? new Set();
      devices.set(state, users.add(places[node.id]!));
    }
  }
  return [...devices].filter(([, users]) => users.size > 1).map(([state]) => state);
}

interface NodeGroup {
  readonly device: number;
  readonly nodes: number[];
}

/** The nodes of each part, ascending. */
function drained(graph: Graph, places: NodePlaces): NodeGroup[] {
  const predecessors = nodePredecessors(graph);
  const followers = graph.nodes.map((): number[] => []);
  for (const { id } of graph.nodes) for (const before of predecessors[id]!) followers[before]!.push(id);
  const open = predecessors.map(({ length }) => length);
  const ready = new Set(graph.nodes.filter(({ id }) => open[id] === 0).map(({ id }) => id));
  const groups: NodeGroup[] = [];
  while (ready.size > 0) {
    const device = places[Math.min(...ready)]!;
    const nodes: number[] = [];
    // A set is walked in the order of insertion, and what a node makes ready is seen in the same walk.
    for (const id of ready) {
      if (places[id] !== device) continue;
      ready.delete(id);
      nodes.push(id);
      for (const follower of followers[id]!) if (--open[follower]! === 0) ready.add(follower);
    }
    groups.push({ device, nodes: nodes.sort((a, b) => a - b) });
  }
  // Of a graph without nodes something must still be submitted.
  return groups.length > 0 ? groups : [{ device: 0, nodes: [] }];
}

/** For each node those that must come before: the makers of its operands, and the readers of what it overwrites. */
function nodePredecessors(graph: Graph): number[][] {
  const readers = graph.values.map((): number[] => []);
  return graph.nodes.map((node) => {
    const before = new Set<number>();
    for (const id of Object.values(node.inputs)) {
      const { source } = graph.values[id]!;
      if (source.kind === 'node') before.add(source.node);
    }
    for (const operand of Object.values(findOp(node.op).aliases ?? {})) {
      for (const reader of readers[node.inputs[operand]!]!) before.add(reader);
    }
    for (const id of Object.values(node.inputs)) readers[id]!.push(node.id);
    return [...before];
  });
}

/** What crosses, by value. A state does not: it is bound to every part that uses it. */
function crossingValues(graph: Graph, partOf: readonly number[]): Map<number, CrossingValue> {
  const outputs = Object.entries(graph.outputs);
  const readers = new Map<number, Set<number>>();
  for (const node of graph.nodes) {
    const part = partOf[node.id]!;
    for (const id of Object.values(node.inputs)) {
      const { source } = graph.values[id]!;
      if (source.kind !== 'node' || partOf[source.node] === part) continue;
      if (stateOf(graph, id) !== undefined) continue;
      readers.set(id, (readers.get(id) ?? new Set()).add(part));
    }
  }
  const taken = signatureNames(graph);
  return new Map(
    [...readers].map(([id, parts]) => {
      const { dtype, shape, source } = graph.values[id]!;
      invariant(source.kind === 'node', 'only what nodes compute crosses');
      const output = outputs.find(([, value]) => value === id)?.[0];
      const name = output ?? freeName(`cut.${id}`, taken);
      const isOutput = output !== undefined;
      return [id, { name, dtype, shape, isOutput, from: partOf[source.node]!, to: [...parts] }];
    }),
  );
}

/** The names that the caller binds. */
function signatureNames(graph: Graph): ReadonlySet<string> {
  const { inputs, outputs, state } = graphSignature(graph);
  return new Set([inputs, outputs, state].flatMap((specs) => Object.keys(specs)));
}

/** A name that nobody has taken: models choose theirs freely, and one of them may look like ours. */
function freeName(wanted: string, taken: ReadonlySet<string>): string {
  return taken.has(wanted) ? freeName(`${wanted}'`, taken) : wanted;
}

/** The outputs of a part by name: those of the graph that it computes, and what it hands over. */
function outputsOf(
  graph: Graph,
  part: number,
  partOf: readonly number[],
  parts: number,
  crossings: ReadonlyMap<number, CrossingValue>,
): Map<string, number> {
  const named = Object.entries(graph.outputs).filter(([, id]) => {
    const { source } = graph.values[id]!;
    // What no node computes (an input that is returned) is the last part's to return.
    return (source.kind === 'node' ? partOf[source.node] : parts - 1) === part;
  });
  const handed = [...crossings]
    .filter(([, { from }]) => from === part)
    .map(([id, { name }]) => [name, id] as const);
  return new Map([...named, ...handed]);
}

/** The name of the state that a value is a version of. */
export function stateOf(graph: Graph, id: number): string | undefined {
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

/** Some nodes as a graph of their own; values of other nodes that they read become inputs or, versions of a state, that state. */
function subgraph(
  graph: Graph,
  nodes: readonly number[],
  outputs: ReadonlyMap<string, number>,
  crossings: ReadonlyMap<number, CrossingValue>,
): Graph {
  const values: Value[] = [];
  const valueIds = new Map<number, number>();
  const stateIds = new Map<string, number>();
  const add = (id: number, source: Value['source']): number => {
    const { dtype, shape } = graph.values[id]!;
    valueIds.set(id, values.length);
    return values.push({ id: values.length, source, dtype, shape }) - 1;
  };
  const entering = (id: number): number => {
    const { source } = graph.values[id]!;
    const state = stateOf(graph, id);
    if (state !== undefined) {
      const known = stateIds.get(state) ?? add(id, { kind: 'state', name: state });
      stateIds.set(state, known);
      valueIds.set(id, known);
      return known;
    }
    return add(id, source.kind === 'node' ? { kind: 'input', name: crossings.get(id)!.name } : source);
  };
  const idOf = (id: number): number => valueIds.get(id) ?? entering(id);
  const kept = nodes.map((original, id): Node => {
    const node = graph.nodes[original]!;
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
