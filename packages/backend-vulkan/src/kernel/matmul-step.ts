/**
 * Products in plans: how groups of them that `orderSteps` found become steps, and steps calls. `matmul.ts` makes dispatches
 * of those.
 */
import {
  matmulStep,
  type FusedNorm as PlannedNorm,
  type MatmulStep,
  type Product,
  type ProductGroup,
} from '@unicorn-exec/lowering';
import type { Emitter, StepOperands } from './declaration.js';
import type { FusedNorm, MatmulCall, Post, ProductCall } from './matmul-call.js';

export function emitMatmul(group: readonly [ProductGroup, ...ProductGroup[]], emitter: Emitter): void {
  const step = matmulStep(group);
  const { join, norm } = step;
  const readable = (one: PlannedNorm): PlannedNorm => ({
    ...one,
    weight: emitter.optionalNumbers(one.weight),
  });
  emitter.push({
    ...step,
    x: emitter.numbers(step.x),
    ...(join ? { join: { ...join, ...(join.norm ? { norm: readable(join.norm) } : {}) } } : {}),
    ...(norm ? { norm: readable(norm) } : {}),
    products: step.products.map((product) => readableProduct(product, emitter)),
  });
}

function readableProduct(product: Product, emitter: Emitter): Product {
  const { weight, gated, bias } = product;
  return {
    ...product,
    weight: emitter.matrix(weight),
    ...(gated ? { gated: { ...gated, up: emitter.matrix(gated.up) } } : {}),
    ...(bias === undefined ? {} : { bias: emitter.numbers(bias) }),
  };
}

export function matmulCall(step: MatmulStep, at: StepOperands): MatmulCall {
  const { join, norm } = step;
  return {
    x: at.operand(step.x),
    ...(join
      ? {
          join: {
            residual: at.operand(join.residual),
            ...(join.norm ? { norm: normAt(join.norm, at) } : {}),
            out: at.operand(join.out),
          },
        }
      : {}),
    fast: step.quantized,
    ...(norm ? { norm: normAt(norm, at) } : {}),
    products: step.products.map((product) => productAt(product, at)),
    scratch: at.scratch,
    counters: at.counters,
    ...(at.agreed.prepared ? { prepared: true } : {}),
  };
}

function normAt({ weight, epsilon, weightOffset }: PlannedNorm, at: StepOperands): FusedNorm {
  return { ...(weight === undefined ? {} : { weight: at.operand(weight) }), epsilon, weightOffset };
}

function productAt(product: Product, at: StepOperands): ProductCall {
  const { weight, gated, out, bias, residual, posts } = product;
  return {
    weight: at.matrix(weight),
    ...(gated ? { gated: { up: at.matrix(gated.up), activation: gated.activation } } : {}),
    out: at.operand(out),
    ...(bias === undefined ? {} : { bias: at.operand(bias) }),
    ...(residual === undefined ? {} : { residual: at.operand(residual) }),
    posts: posts.map((post): Post => {
      if (post.kind !== 'glu') return post;
      return { kind: 'glu', activation: post.activation, other: at.operand(post.other) };
    }),
  };
}
