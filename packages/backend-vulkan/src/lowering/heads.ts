/**
 * Which norms, ropes and kvWrites of a graph are one step over a layer's heads: what becomes of queries, keys and values
 * between their products and the attention that reads them. Finds patterns; the kernel is `kernel/heads.ts`.
 */
import type { PlannedValue } from '@unicorn-exec/lowering';
import { sameShape, type Graph, type Node } from '@unicorn-exec/tensor';
import { largestHeadDim } from '../kernel/heads.js';

/** Of a node of one head part: what is done with the heads that lie in `x`. */
export interface HeadPart {
  readonly x: number;
  readonly norm?: Node;
  readonly rope?: Node;
}

export interface HeadGroup {
  readonly query?: HeadPart & { readonly out: number };
  readonly stored?: { readonly key: HeadPart; readonly value: HeadPart; readonly write: Node };
}

export interface HeadGroups {
  /** By the node before which each group is computed, or in the place of which: the attention, or the kvWrite. */
  readonly groups: ReadonlyMap<number, readonly HeadGroup[]>;
  /** Nodes that some group covers. */
  readonly covered: ReadonlySet<number>;
}

class Finder {
  readonly #readers: number[];
  readonly #producers: (Node | undefined)[];

  constructor(
    private readonly graph: Graph,
    private readonly values: readonly PlannedValue[],
  ) {
    this.#readers = graph.values.map(() => 0);
    for (const { inputs } of graph.nodes) for (const id of Object.values(inputs)) this.#readers[id]!++;
    for (const id of Object.values(graph.outputs)) this.#readers[id]!++;
    this.#producers = graph.values.map(({ source }) =>
      source.kind === 'node' ? graph.nodes[source.node] : undefined,
    );
  }

  /** Norm and rope before `id`, whose results nothing else reads. */
  part(id: number): HeadPart {
    const rope = this.#only(id, 'rope');
    const norm = this.#only(rope?.inputs.x ?? id, 'rmsNorm');
    const x = norm?.inputs.x ?? rope?.inputs.x ?? id;
    return { x, ...(norm ? { norm } : {}), ...(rope ? { rope } : {}) };
  }

  #only(id: number, op: string): Node | undefined {
    const node = this.#producers[id];
    return node?.op === op && this.#readers[id] === 1 ? node : undefined;
  }

  /**
   * The attention that a kvWrite may be put off to: the first reader of any value of its state after it. Undefined where
   * another node reads or writes that state first.
   */
  attentionAfter(write: Node): Node | undefined {
    const { root } = this.values[write.outputs[0]!]!;
    const touches = ({ id, inputs }: Node): boolean =>
      id > write.id && Object.values(inputs).some((value) => this.values[value]!.root === root);
    const next = this.graph.nodes.find(touches);
    return next?.op === 'attention' && next.inputs.state === write.outputs[0] ? next : undefined;
  }
}

const norms = (parts: readonly (HeadPart | undefined)[]): Node[] =>
  parts.flatMap((part) => (part?.norm ? [part.norm] : []));

const ropes = (parts: readonly (HeadPart | undefined)[]): Node[] =>
  parts.flatMap((part) => (part?.rope ? [part.rope] : []));

/** Whether one dispatch can do all parts: it has one epsilon, one offset of weights and one table of angles. */
function agree(parts: readonly (HeadPart | undefined)[]): boolean {
  const same = (all: readonly unknown[]): boolean => new Set(all).size <= 1;
  const turns = ropes(parts).map(({ inputs, attributes }) =>
    [inputs.positions, inputs.frequencies, attributes.magnitude, attributes.layout].join(),
  );
  const weighted = norms(parts).filter(({ inputs }) => inputs.weight !== undefined);
  return (
    same(norms(parts).map(({ attributes }) => attributes.epsilon)) &&
    same(weighted.map(({ attributes }) => attributes.weightOffset)) &&
    same(turns)
  );
}

export function headNodes({ query, stored }: HeadGroup): Node[] {
  const parts = [query, stored?.key, stored?.value];
  return [...norms(parts), ...ropes(parts), ...(stored ? [stored.write] : [])];
}

/** @param values as `placeValues` made them of the graph */
export function findHeads(graph: Graph, values: readonly PlannedValue[]): HeadGroups {
  const finder = new Finder(graph, values);
  const groups = new Map<number, HeadGroup[]>();
  const covered = new Set<number>();
  const add = (at: Node, group: HeadGroup): void => {
    for (const { id } of headNodes(group)) covered.add(id);
    const known = groups.get(at.id);
    if (known) known.push(group);
    else groups.set(at.id, [group]);
  };
  /** Writes that wait for the attention after them. */
  const waiting = new Map<Node, NonNullable<HeadGroup['stored']>>();
  for (const node of graph.nodes) {
    if (node.op === 'kvWrite') {
      const stored = storedHeads(node, finder, values);
      if (!stored) continue;
      const attention = finder.attentionAfter(node);
      if (attention) waiting.set(attention, stored);
      else add(node, { stored });
    } else if (node.op === 'attention') {
      const stored = waiting.get(node);
      const query = queryHeads(node.inputs.query!, finder, values);
      const rowsOf = (x: number) => values[x]!.shape.slice(0, 1);
      const together =
        query !== undefined &&
        stored !== undefined &&
        agree([query, stored.key, stored.value]) &&
        sameShape(rowsOf(query.x), rowsOf(stored.key.x));
      if (together) {
        add(node, { query, stored });
      } else {
        if (stored) add(node, { stored });
        if (query) add(node, { query });
      }
    }
  }
  return { groups, covered };
}

function queryHeads(
  id: number,
  finder: Finder,
  values: readonly PlannedValue[],
): HeadGroup['query'] | undefined {
  const part = finder.part(id);
  const headDim = values[id]!.shape.at(-1);
  if (!(part.norm ?? part.rope) || Number(headDim) > largestHeadDim) return undefined;
  return { ...part, out: id };
}

function storedHeads(
  write: Node,
  finder: Finder,
  values: readonly PlannedValue[],
): HeadGroup['stored'] | undefined {
  const { key: keyId, value: valueId } = write.inputs as { key: number; value: number };
  if (Number(values[keyId]!.shape.at(-1)) > largestHeadDim) return undefined;
  const key = finder.part(keyId);
  // Values are not turned by any model: a rope of them stays a step of its own.
  const whole = finder.part(valueId);
  const value = whole.rope || !agree([key, whole]) ? { x: valueId } : whole;
  return { key, value, write };
}
