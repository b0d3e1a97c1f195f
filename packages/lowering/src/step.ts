/** The steps that every backend has: made from their nodes, and the values that they read and write. */
import type { Node } from '@unicorn-exec/tensor';
import type { ProductGroup } from './fuse.js';
import type { AttentionStep, MatmulStep, PlannedValue, Product, SampleStep } from './plan.js';

/** Products over one x, found to belong together by `orderSteps`. */
export function matmulStep(group: readonly [ProductGroup, ...ProductGroup[]]): MatmulStep {
  const { x, join, quantized, norm } = group[0];
  return {
    kind: 'matmul',
    x,
    ...(join ? { join } : {}),
    quantized,
    ...(norm ? { norm } : {}),
    products: group.map(({ product }) => product),
  };
}

export function attentionStep(node: Node): AttentionStep {
  const id = (name: string): number => node.inputs[name]!;
  const { scale, window, softcap } = node.attributes as { scale: number; window?: number; softcap?: number };
  return {
    kind: 'attention',
    node: node.id,
    query: id('query'),
    state: id('state'),
    positions: id('positions'),
    starts: id('starts'),
    blocks: id('blocks'),
    reach: node.inputs.reach,
    out: node.outputs[0]!,
    scale,
    window,
    softcap,
  };
}

export function sampleStep(node: Node): SampleStep {
  const names = ['logits', 'parameters', 'controls', 'biasIds', 'biasValues', 'history', 'mask'];
  const operands = names.map((name) => node.inputs[name]);
  const [ids, , probabilities] = node.outputs;
  return { kind: 'sample', node: node.id, operands, ids: ids!, probabilities };
}

/** Whether a value is a weight as matmul and embed read it: rows of it with whole or leading columns. */
export function isStoredMatrix(value: PlannedValue): boolean {
  return value.view !== undefined && value.shape.length === 2 && value.shape[1] === value.view.columns;
}

export function definedIds(ids: readonly (number | undefined)[]): number[] {
  return ids.filter((id) => id !== undefined);
}

function productReads(product: Product): number[] {
  const posts = product.posts.map((post) => (post.kind === 'glu' ? post.other : undefined));
  return definedIds([product.weight, product.gated?.up, product.bias, product.residual, ...posts]);
}

/** Value ids that a step reads, states included. */
export function stepReads(step: MatmulStep | AttentionStep | SampleStep): number[] {
  switch (step.kind) {
    case 'matmul':
      return [
        ...definedIds([step.x, step.join?.residual, step.join?.norm?.weight, step.norm?.weight]),
        ...step.products.flatMap(productReads),
      ];
    case 'attention': {
      const { query, state, positions, starts, blocks, reach } = step;
      return definedIds([query, state, positions, starts, blocks, reach]);
    }
    case 'sample':
      return definedIds(step.operands);
  }
}

/** Value ids that a step writes; a history that a sample appends to is not among them. */
export function stepWrites(step: MatmulStep | AttentionStep | SampleStep): number[] {
  switch (step.kind) {
    case 'matmul':
      return [...definedIds([step.join?.out]), ...step.products.map(({ out }) => out)];
    case 'attention':
      return [step.out];
    case 'sample':
      return definedIds([step.ids, step.probabilities]);
  }
}

/** Values that a matmul may write over with the result that lies in `root`: a residual that nothing else of it reads. */
export function overwritableByMatmul(
  step: MatmulStep,
  root: PlannedValue,
  values: readonly PlannedValue[],
): number[] {
  const { join, products } = step;
  const makes = ({ out }: { readonly out: number }): boolean => values[out]!.root === root.id;
  const residual = join && makes(join) ? join.residual : products.find(makes)!.residual;
  const readers = (id: number): number =>
    stepReads(step).filter((other) => values[other]!.root === values[id]!.root).length;
  // The other half of a gate is not among them: the product is stored before it is multiplied with it.
  return definedIds([residual]).filter((id) => readers(id) === 1);
}

/** Graph nodes that a step computes. */
export function stepNodes(step: MatmulStep | AttentionStep | SampleStep): number[] {
  switch (step.kind) {
    case 'matmul':
      return [
        ...(step.join?.nodes ?? []),
        ...(step.norm ? [step.norm.node] : []),
        ...step.products.flatMap(({ nodes }) => nodes),
      ];
    case 'attention':
    case 'sample':
      return [step.node];
  }
}

/** The step's name for a profile: the ops in it, `rmsNorm+matmul+glu`. */
export function stepName(step: MatmulStep | AttentionStep | SampleStep): string {
  if (step.kind !== 'matmul') return step.kind;
  const { join, norm } = step;
  const before = [...(join?.norm || norm ? ['rmsNorm'] : []), ...(join ? ['add'] : [])];
  const parts = new Set<string>([...before, 'matmul']);
  for (const { gated, bias, residual, posts } of step.products) {
    if (gated) parts.add('glu');
    if (bias !== undefined || residual !== undefined) parts.add('add');
    for (const post of posts) parts.add(post.kind);
  }
  return [...parts].join('+');
}
