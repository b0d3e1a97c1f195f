/**
 * The table of fusions around products: what precedes a matmul (a norm) and what follows it (bias, residual, gated unit,
 * elementwise functions) and can be done in passing. Finds patterns in a graph; `order.ts` orders the result.
 */
import { sameShape, type ActivationKind, type Graph, type Node } from '@unicorn-exec/tensor';
import type { FusedNorm, Join, PlannedValue, Post, Product } from './plan.js';

export interface ProductGroup {
  /** Value of the activations, before the join and the norm if there are any. */
  readonly x: number;
  /** Groups with the same norm have the same join: whichever is computed first makes the sum. */
  readonly join?: Join;
  readonly quantized: boolean;
  readonly norm?: FusedNorm;
  readonly product: Product;
  /** Values that must be computed before, beside x and weights. */
  readonly needs: readonly number[];
}

export interface Fusions {
  /** Products by the last node that each covers, which is the latest place in the order where it can be computed. */
  readonly products: ReadonlyMap<number, ProductGroup>;
  /** Nodes that some product, norm or join covers. */
  readonly covered: ReadonlySet<number>;
}

export interface FusionContext {
  readonly graph: Graph;
  readonly values: readonly PlannedValue[];
  /** Whether a matmul runs on int8 activations. */
  quantized(node: Node): boolean;
  /** Whether products can make the sum themselves that their norm reads. False by default. */
  readonly joins?: boolean;
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
      product.posts.length === 0 &&
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

function growProduct(
  node: Node,
  posts: readonly Post[],
  context: FusionContext,
  lookup: Lookup,
  covered: Set<number>,
): Growing {
  const product: Growing = { out: node.outputs[0]!, posts: [...posts], nodes: [node.id], needs: [] };
  for (;;) {
    const uses = lookup.uses[product.out]!;
    const [use] = uses;
    if (uses.length !== 1 || use === undefined || use === 'output') break;
    // Where two products are summed, one takes the other's result.
    if (covered.has(use.node.id)) break;
    if (!absorb[use.node.op]?.(product, use, context, lookup)) break;
    product.nodes.push(use.node.id);
    product.out = use.node.outputs[0]!;
  }
  for (const id of product.nodes) covered.add(id);
  return product;
}

/**
 * The scale between a norm and a product, when it may follow the product instead: a power of two rounds nothing but
 * subnormal numbers.
 */
function scaleBefore(x: number, { joins }: FusionContext, { uses, producers }: Lookup): Node | undefined {
  const node = producers[x];
  if (!joins || node?.op !== 'scale' || uses[x]!.length !== 1) return undefined;
  const isPower = Number.isInteger(Math.log2(node.attributes.factor as number));
  const normed = node.inputs.x!;
  return isPower && producers[normed]?.op === 'rmsNorm' && uses[normed]!.length === 1 ? node : undefined;
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
  return fusedNorm(node);
}

function fusedNorm(node: Node): FusedNorm {
  const { epsilon, weightOffset } = node.attributes as { epsilon: number; weightOffset: number };
  return { node: node.id, weight: node.inputs.weight, epsilon, weightOffset };
}

/**
 * residual + rmsNorm(x), where that sum is what `norm` reads: what follows a product in models that norm its result.
 *
 * @param earliest the node with which the sum is made: everything else that reads it comes later
 */
function findJoin(
  norm: FusedNorm,
  earliest: number,
  { graph, values }: FusionContext,
  { uses, producers, covered }: Lookup,
): { readonly x: number; readonly join: Join } | undefined {
  const sum = values[graph.nodes[norm.node]!.inputs.x!]!;
  const add = producers[sum.id];
  if (add?.op !== 'add' || covered.has(add.id)) return undefined;
  const readsLater = (use: Use | 'output'): boolean =>
    use === 'output' || use.node.id === norm.node || use.node.id > earliest;
  if (!uses[sum.id]!.every(readsLater)) return undefined;
  for (const [part, rest] of [
    ['a', 'b'],
    ['b', 'a'],
  ] as const) {
    const [normed, residual] = [values[add.inputs[part]!]!, values[add.inputs[rest]!]!];
    const before = producers[normed.id];
    if (before?.op !== 'rmsNorm' || covered.has(before.id) || uses[normed.id]!.length !== 1) continue;
    const isStored = residual.storage.kind === 'weight' || residual.storage.kind === 'constant';
    if (isStored || residual.dtype !== 'f32' || !sameShape(residual.shape, sum.shape)) continue;
    if (!sameShape(normed.shape, sum.shape)) continue;
    const nodes = [before.id, add.id];
    return {
      x: before.inputs.x!,
      join: { nodes, residual: residual.id, norm: fusedNorm(before), out: sum.id },
    };
  }
  return undefined;
}

/** Gives the joins to all groups that read their sums through one norm. */
function joinProducts(
  products: Map<number, ProductGroup>,
  covered: Set<number>,
  context: FusionContext,
  lookup: Lookup,
): void {
  const readers = new Map<number, number[]>();
  for (const [due, { norm }] of products) {
    if (norm) readers.set(norm.node, [...(readers.get(norm.node) ?? []), due]);
  }
  for (const dues of readers.values()) {
    const { norm } = products.get(dues[0]!)!;
    const found = findJoin(norm!, Math.min(...dues), context, lookup);
    if (!found) continue;
    for (const id of found.join.nodes) covered.add(id);
    for (const due of dues) {
      const group = products.get(due)!;
      const weights = [found.join.residual, found.join.norm?.weight].filter((id) => id !== undefined);
      products.set(due, { ...group, ...found, needs: [...group.needs, ...weights] });
    }
  }
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
    const before = scaleBefore(node.inputs.x!, context, lookup);
    const posts: Post[] = before ? [{ kind: 'scale', factor: before.attributes.factor as number }] : [];
    const { needs, ...product } = growProduct(node, posts, context, lookup, covered);
    const norm = before ? fusedNorm(producers[before.inputs.x!]!) : findNorm(node.inputs.x!, context, lookup);
    for (const id of [before?.id, norm?.node]) if (id !== undefined) covered.add(id);
    const x = norm ? graph.nodes[norm.node]!.inputs.x! : node.inputs.x!;
    // A norm's own weight may be computed; a weight operand may be an activation.
    const weights = [node.inputs.weight!, product.gated?.up, norm?.weight].filter((id) => id !== undefined);
    const due = Math.max(...product.nodes);
    if (before) product.nodes.unshift(before.id);
    products.set(due, {
      x,
      quantized: context.quantized(node),
      ...(norm ? { norm } : {}),
      product: { weight: node.inputs.weight!, ...product },
      needs: [...needs, ...weights],
    });
  }
  if (context.joins) joinProducts(products, covered, context, lookup);
  return { products, covered };
}
