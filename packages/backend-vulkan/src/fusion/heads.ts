/**
 * Finds the norms, ropes and kvWrites of a graph that one step over a layer's heads can do: all that happens to queries,
 * keys and values between their products and the attention that reads them. The kernel is `kernel/heads.ts`.
 */
import type { PlannedValue } from '@unicorn-exec/lowering';
import { sameShape, type Graph, type Node } from '@unicorn-exec/tensor';
import type { Emitter } from '../kernel/declaration.js';
import { largestHeadDim } from '../kernel/heads.js';
import { emitRopeTable } from '../kernel/rope.js';
import type { PlannedHeads } from '../lowering/plan.js';
import type { Fusion } from './fusion.js';

/** The norm and the rope of the heads that lie in `x`. */
interface HeadNodes {
  readonly x: number;
  readonly norm?: Node;
  readonly rope?: Node;
}

/** The nodes and values of one such step. */
interface HeadGroup {
  readonly query?: HeadNodes & { readonly out: number };
  readonly stored?: { readonly key: HeadNodes; readonly value: HeadNodes; readonly write: Node };
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
  part(id: number): HeadNodes {
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

const norms = (parts: readonly (HeadNodes | undefined)[]): Node[] =>
  parts.flatMap((part) => (part?.norm ? [part.norm] : []));

const ropes = (parts: readonly (HeadNodes | undefined)[]): Node[] =>
  parts.flatMap((part) => (part?.rope ? [part.rope] : []));

/** Whether one dispatch can do all parts: it has one epsilon, one offset of weights and one table of angles. */
function agree(parts: readonly (HeadNodes | undefined)[]): boolean {
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

function headNodes({ query, stored }: HeadGroup): Node[] {
  const parts = [query, stored?.key, stored?.value];
  return [...norms(parts), ...ropes(parts), ...(stored ? [stored.write] : [])];
}

/**
 * The groups are emitted before their attention, or in the place of their kvWrite.
 *
 * @param values as `placeValues` made them of the graph
 */
export function fuseHeads(graph: Graph, values: readonly PlannedValue[]): Fusion {
  const finder = new Finder(graph, values);
  const steps = new Map<number, ((emitter: Emitter) => void)[]>();
  const covered = new Set<number>();
  const add = (at: Node, group: HeadGroup): void => {
    for (const { id } of headNodes(group)) covered.add(id);
    const known = steps.get(at.id) ?? [];
    steps.set(at.id, [...known, (emitter) => emitHeads(group, emitter)]);
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
  return { steps, covered };
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
  const { key: keyId, value: valueId } = write.inputs as { key: number; value?: number };
  // Keys that are stored alone are written by a step of their own.
  if (valueId === undefined) return undefined;
  if (Number(values[keyId]!.shape.at(-1)) > largestHeadDim) return undefined;
  const key = finder.part(keyId);
  // Values are not turned by any model: a rope of them stays a step of its own.
  const whole = finder.part(valueId);
  const value = whole.rope || !agree([key, whole]) ? { x: valueId } : whole;
  return { key, value, write };
}

function emitHeads(group: HeadGroup, emitter: Emitter): void {
  const { query, stored } = group;
  const nodes = headNodes(group);
  const rope = [query?.rope, stored?.key.rope].find((node) => node !== undefined);
  const normed = norms([query, stored?.key, stored?.value]);
  // A norm without a weight has nothing that the offset would be added to.
  const [weighted] = normed.filter(({ inputs }) => inputs.weight !== undefined);
  emitter.push({
    kind: 'heads',
    nodes: nodes.map(({ id }) => id),
    ...(query ? { query: { ...plannedHeads(query, emitter), out: query.out } } : {}),
    ...(stored
      ? {
          stored: {
            key: plannedHeads(stored.key, emitter),
            value: plannedHeads(stored.value, emitter),
            state: stored.write.inputs.state!,
            slots: emitter.numbers(stored.write.inputs.slots!),
            out: stored.write.outputs[0]!,
          },
        }
      : {}),
    epsilon: (normed[0]?.attributes.epsilon as number | undefined) ?? 0,
    weightOffset: (weighted?.attributes.weightOffset as number | undefined) ?? 0,
    ...(rope
      ? {
          rope: {
            table: emitRopeTable(rope, emitter),
            layout: rope.attributes.layout as 'half' | 'interleaved',
          },
        }
      : {}),
  });
}

function plannedHeads({ x, norm, rope }: HeadNodes, emitter: Emitter): PlannedHeads {
  return {
    x: emitter.numbers(x),
    normed: norm !== undefined,
    weight: emitter.optionalNumbers(norm?.inputs.weight),
    turned: rope !== undefined,
  };
}
