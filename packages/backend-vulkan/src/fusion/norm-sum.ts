/**
 * Finds norms that are followed by sums with other values and by a scale, which the norm's own pass can do. Where a product
 * reads the normed sum, the product's step makes it (`Join` of @unicorn-exec/lowering); this is for all others.
 */
import type { PlannedValue } from '@unicorn-exec/lowering';
import { sameShape, type Graph, type Node } from '@unicorn-exec/tensor';
import type { Emitter } from '../kernel/declaration.js';
import type { Fusion } from './fusion.js';

/** The most values that the kernel adds. */
const mostAddends = 2;

interface NormSum {
  readonly norm: Node;
  /** Value ids, in the order in which they are added. */
  readonly addends: readonly number[];
  readonly scale: number;
  readonly out: number;
  /** All nodes that it covers, the norm first; it is computed in the place of the last. */
  readonly nodes: readonly Node[];
}

/** @param isTaken nodes that other fusions cover */
export function fuseNormSums(
  graph: Graph,
  values: readonly PlannedValue[],
  isTaken: (node: Node) => boolean,
): Fusion {
  const sums = findNormSums(graph, values, isTaken);
  return {
    steps: new Map([...sums].map(([id, sum]) => [id, [(emitter) => emitNormSum(sum, emitter)]])),
    covered: new Set([...sums.values()].flatMap(({ nodes }) => nodes.map(({ id }) => id))),
  };
}

/** The norms with sums, by the last node of each. */
function findNormSums(
  graph: Graph,
  values: readonly PlannedValue[],
  isTaken: (node: Node) => boolean,
): Map<number, NormSum> {
  const readers: (Node | undefined)[][] = graph.values.map(() => []);
  for (const node of graph.nodes) for (const id of Object.values(node.inputs)) readers[id]!.push(node);
  for (const id of Object.values(graph.outputs)) readers[id]!.push(undefined);
  const found = new Map<number, NormSum>();
  const claimed = new Set<Node>();
  for (const norm of graph.nodes) {
    if (norm.op !== 'rmsNorm' || isTaken(norm)) continue;
    const nodes = [norm];
    const addends: number[] = [];
    let scale = 1;
    for (;;) {
      const out = nodes.at(-1)!.outputs[0]!;
      const [next] = readers[out]!;
      if (readers[out]!.length !== 1 || !next || scale !== 1) break;
      if (isTaken(next) || claimed.has(next)) break;
      if (next.op === 'scale') {
        scale = next.attributes.factor as number;
      } else {
        const addend = next.op === 'add' ? addendOf(next, out, values) : undefined;
        if (addend === undefined || addends.length === mostAddends) break;
        addends.push(addend);
      }
      nodes.push(next);
    }
    const last = nodes.at(-1)!;
    for (const node of nodes) claimed.add(node);
    if (nodes.length > 1) found.set(last.id, { norm, addends, scale, out: last.outputs[0]!, nodes });
  }
  return found;
}

/** The other side of a sum, where it is a value of the same shape that a step made. */
function addendOf(add: Node, normed: number, values: readonly PlannedValue[]): number | undefined {
  const { a, b } = add.inputs as { a: number; b: number };
  const other = values[a === normed ? b : a]!;
  const isStored = other.storage.kind === 'weight' || other.storage.kind === 'constant';
  return !isStored && other.dtype === 'f32' && sameShape(other.shape, values[normed]!.shape)
    ? other.id
    : undefined;
}

function emitNormSum({ norm, addends, scale, out, nodes }: NormSum, emitter: Emitter): void {
  const { x, weight } = norm.inputs as { x: number; weight?: number };
  const [first, second] = addends;
  emitter.pushOp({
    kernel: 'rmsNorm',
    node: norm.id,
    also: nodes.slice(1).map(({ id }) => id),
    inputs: {
      x: emitter.numbers(x),
      ...(weight === undefined ? {} : { weight: emitter.numbers(weight) }),
      ...(first === undefined ? {} : { first }),
      ...(second === undefined ? {} : { second }),
    },
    out,
    attributes: { ...norm.attributes, scale },
  });
}
