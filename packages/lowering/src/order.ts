/**
 * Puts nodes and fused products in order: each product as late as its own last node wants it, and together with all
 * others over the same x that can be computed by then. The emitter decides what becomes of a node.
 */
import type { Graph, Node } from '@unicorn-exec/tensor';
import type { Fusions, ProductGroup } from './fuse.js';

export interface StepEmitter {
  /** Products over one x, the same join and norm before it, in one form. */
  matmul(group: readonly [ProductGroup, ...ProductGroup[]]): void;
  /** A node that no product covers, views included. */
  node(node: Node): void;
}

/** Whether another product may be computed together with `first`, now. */
function joins(first: ProductGroup, other: ProductGroup, ready: ReadonlySet<number>): boolean {
  return (
    other.x === first.x &&
    other.quantized === first.quantized &&
    other.norm?.node === first.norm?.node &&
    other.needs.every((id) => ready.has(id))
  );
}

export function orderSteps(graph: Graph, { products, covered }: Fusions, emit: StepEmitter): void {
  /** Values computed so far. */
  const ready = new Set(graph.values.filter(({ source }) => source.kind !== 'node').map(({ id }) => id));
  const waiting = new Set(products.values());
  /** Sums that a step has made: others read them as they are. */
  const joined = new Set<number>();
  const afterJoin = (group: ProductGroup): ProductGroup => {
    const { join, ...rest } = group;
    return join && joined.has(join.out) ? { ...rest, x: join.out } : group;
  };
  for (const node of graph.nodes) {
    const product = products.get(node.id);
    if (product && waiting.has(product)) {
      waiting.delete(product);
      const others = [...waiting].filter((other) => joins(product, other, ready));
      // The table is in the order of last nodes, so the product that is due need not be the first of its group.
      const group = [...products.values()].filter((one) => one === product || others.includes(one));
      emit.matmul(group.map(afterJoin) as [ProductGroup, ...ProductGroup[]]);
      for (const one of group) {
        if (one.join) {
          joined.add(one.join.out);
          ready.add(one.join.out);
        }
        waiting.delete(one);
        ready.add(one.product.out);
      }
    }
    // The values inside of a fused product are not computed: only its result can be read.
    if (covered.has(node.id)) continue;
    emit.node(node);
    for (const id of node.outputs) ready.add(id);
  }
}
