/**
 * The table of fusions around products: what precedes a matmul (a norm) and what follows it (bias, residual, gated unit,
 * elementwise functions) and can be done in passing. Finds patterns in a graph; `order.ts` orders the result.
 */
import { sameShape, type ActivationKind, type Graph, type Node } from '@unicorn-exec/tensor';
import type { FusedNorm, PlannedValue, Post, Product } from './plan.js';

export interface ProductGroup {
  /** Value of the activations, before the norm if there is one. */
  readonly x: number;
  readonly quantized: boolean;
  readonly norm?: FusedNorm;
  readonly product: Product;
  /** Values that must be there before, beside x and weights. */
  readonly needs: readonly number[];
}

export interface Fusions {
  /** Products by the last node that each covers: where in the order of nodes it can be computed at the latest. */
  readonly products: ReadonlyMap<number, ProductGroup>;
  /** Nodes that some product or norm covers. */
  readonly covered: ReadonlySet<number>;
}

export interface FusionContext {
  readonly graph: Graph;
  readonly values: readonly PlannedValue[];
  /** Whether a matmul runs on int8 activations. */
  quantized(node: Node): boolean;
  /** Whether a weight begins at a group of rows, as the two products of a gated unit must. */
  aligned(value: PlannedValue): boolean;
}

interface Use {
  readonly node: Node;
  readonly operand: string;
}

/** Readers of each value; an output of the graph counts as one that nothing can absorb. */
function usesOf(graph: Graph): (Use | 'output')[][] {
  const uses: (Use | 'output')[][] = graph.values.map(() => []);
  for (const node of graph.nodes) {
    for (const [operand, id] of Object.entries(node.inputs)) uses[id]!.push({ node, operand });
  }
  for (const id of Object.values(graph.outputs)) uses[id]!.push('output');
  return uses;
}

interface Growing {
  out: number;
  bias?: number;
  residual?: number;
  gated?: { up: number; activation: ActivationKind };
  posts: Post[];
  nodes: number[];
  needs: number[];
}

/** One entry of the table: absorbs `use`, the only reader of the result so far, or declines. */
type Absorb = (product: Growing, use: Use, context: FusionContext, lookup: Lookup) => boolean;

interface Lookup {
  readonly uses: readonly (readonly (Use | 'output')[])[];
  readonly producers: readonly (Node | undefined)[];
  readonly covered: ReadonlySet<number>;
}

function otherOperand(use: Use, a: string, b: string): number {
  return use.node.inputs[use.operand === a ? b : a]!;
}

const absorb: Readonly<Record<string, Absorb>> = {
  /** matmul + bias, matmul + residual */
  add(product, use, { values }) {
    const other = values[otherOperand(use, 'a', 'b')]!;
    const own = values[product.out]!;
    const plain = product.posts.length === 0 && product.residual === undefined && !product.gated;
    if (!plain || other.id === product.out) return false;
    const isStored = other.storage.kind === 'weight' || other.storage.kind === 'constant';
    const isVector = other.shape.length === 1 && other.shape[0] === own.shape.at(-1) && own.shape.length > 1;
    if (isVector && product.bias === undefined && isStored) {
      product.bias = other.id;
    } else if (!isStored && other.dtype === 'f32' && sameShape(other.shape, own.shape)) {
      product.residual = other.id;
      product.needs.push(other.id);
    } else {
      return false;
    }
    return true;
  },
  softcap(product, { node }) {
    product.posts.push({ kind: 'softcap', cap: node.attributes.cap as number });
    return true;
  },
  scale(product, { node }) {
    product.posts.push({ kind: 'scale', factor: node.attributes.factor as number });
    return true;
  },
  activation(product, { node }) {
    product.posts.push({ kind: 'activation', activation: node.attributes.kind as ActivationKind });
    return true;
  },
  /** glu(matmul, matmul) of one x: both products side by side; glu(matmul, other): in passing. */
  glu(product, use, context, lookup) {
    if (use.operand !== 'gate') return false;
    const { node } = use;
    const activation = node.attributes.kind as ActivationKind;
    const up = context.values[node.inputs.up!]!;
    if (up.id === product.out || up.dtype !== 'f32') return false;
    const gateNode = context.graph.nodes[product.nodes[0]!]!;
    const upNode = lookup.producers[up.id];
    const pair =
      upNode?.op === 'matmul' &&
      !lookup.covered.has(upNode.id) &&
      upNode.inputs.x === gateNode.inputs.x &&
      lookup.uses[up.id]!.length === 1 &&
      product.nodes.length === 1 &&
      context.quantized(upNode) === context.quantized(gateNode) &&
      context.aligned(context.values[gateNode.inputs.weight!]!) &&
      context.aligned(context.values[upNode.inputs.weight!]!);
    if (pair) {
      product.gated = { up: upNode.inputs.weight!, activation };
      product.nodes.push(upNode.id);
      return true;
    }
    if (up.storage.kind === 'weight') return false;
    product.posts.push({ kind: 'glu', activation, other: up.id });
    product.needs.push(up.id);
    return true;
  },
};

function growProduct(node: Node, context: FusionContext, lookup: Lookup, covered: Set<number>): Growing {
  const product: Growing = { out: node.outputs[0]!, posts: [], nodes: [node.id], needs: [] };
  for (;;) {
    const uses = lookup.uses[product.out]!;
    const [use] = uses;
    if (uses.length !== 1 || use === undefined || use === 'output') break;
    if (!absorb[use.node.op]?.(product, use, context, lookup)) break;
    product.nodes.push(use.node.id);
    product.out = use.node.outputs[0]!;
  }
  for (const id of product.nodes) covered.add(id);
  return product;
}

/** The norm that produces x, when nothing but products of one form reads it. */
function findNorm(x: number, context: FusionContext, lookup: Lookup): FusedNorm | undefined {
  const node = lookup.producers[x];
  if (node?.op !== 'rmsNorm') return undefined;
  const uses = lookup.uses[x]!;
  const readers = uses.map((use) => (use !== 'output' && use.operand === 'x' ? use.node : undefined));
  if (!readers.every((reader) => reader?.op === 'matmul')) return undefined;
  const forms = new Set(readers.map((reader) => context.quantized(reader!)));
  if (forms.size > 1) return undefined;
  const { epsilon, weightOffset } = node.attributes as { epsilon: number; weightOffset: number };
  return { node: node.id, weight: node.inputs.weight, epsilon, weightOffset };
}

export function findFusions(context: FusionContext): Fusions {
  const { graph } = context;
  const producers: (Node | undefined)[] = graph.values.map(({ source }) =>
    source.kind === 'node' ? graph.nodes[source.node] : undefined,
  );
  const covered = new Set<number>();
  const lookup = { uses: usesOf(graph), producers, covered };
  const products = new Map<number, ProductGroup>();
  for (const node of graph.nodes) {
    if (node.op !== 'matmul' || covered.has(node.id)) continue;
    const { needs, ...product } = growProduct(node, context, lookup, covered);
    const norm = findNorm(node.inputs.x!, context, lookup);
    if (norm) covered.add(norm.node);
    const x = norm ? graph.nodes[norm.node]!.inputs.x! : node.inputs.x!;
    // A norm's own weight may be computed; a weight operand may be an activation.
    const weights = [node.inputs.weight!, product.gated?.up, norm?.weight].filter((id) => id !== undefined);
    products.set(Math.max(...product.nodes), {
      x,
      quantized: context.quantized(node),
      ...(norm ? { norm } : {}),
      product: { weight: node.inputs.weight!, ...product },
      needs: [...needs, ...weights],
    });
  }
  return { products, covered };
}
