/**
 * Products with weights. Three forms of one meaning:
 *
 *   float  f32 throughout, weights of any type decoded on the way: precision `f32`, and weights that are not quantized
 *   int8   activations in int8 blocks of 32 columns with one scale each, weights in planes, exact integer dots
 *   f16    activations and decoded weights in f16, f32 sums, by cooperative matrices: many rows
 *
 * The norm before and the sum, function or gate after a product are done in passing. Within a form a row's result has the
 * same bits in every batch (the shaders say how). The form follows from the weight, the precision and, on devices with
 * cooperative matrices alone, from whether there are more than `laneTokens` rows; f16 is two forms there, of columns in
 * slices and of whole ones, by `mostSliceTokens`.
 */
import { overwritableByMatmul, type MatmulStep } from '@unicorn-exec/lowering';
import type { DeviceTraits, Dispatch } from '../dispatch/dispatch.js';
import { sharedStep, type StepKernel } from './declaration.js';
import { activation, glu, scale, softcap } from './elementwise.js';
import { product as elementCount } from './grid.js';
import { matrixOf, type Matrix } from './matrix.js';
import type { MatmulCall, Post, ProductCall } from './matmul-call.js';
import { laneDispatch } from './matmul-lane.js';
import { matrixDispatch, slicesMemory } from './matmul-matrix.js';
import { isWhole, joinAlone, rowsOf, scratchPlan, type Planning, type Prepared } from './matmul-prepare.js';
import { canShare, fusedPosts, mostProducts, type SingleProduct } from './matmul-product.js';
import { matmulCall } from './matmul-step.js';
import { defaultTiler, type MatmulTiler } from './tiler.js';
import type { MatrixTile } from './matrix-tile.js';
import type { Operand } from './operand.js';

/** A dispatch of one product or several, and what follows it. */
interface Part {
  readonly form: 'float' | 'int8' | { readonly tile: MatrixTile };
  readonly products: [SingleProduct, ...SingleProduct[]];
  readonly after: readonly Dispatch[];
}

export interface MatmulKernel extends StepKernel<MatmulStep, MatmulCall> {
  /** For as many rows as the call has, or fewer. */
  scratchBytes(call: MatmulCall, traits: DeviceTraits): number;
  /** For as many rows as the call has, or fewer. */
  counterBytes(call: MatmulCall, traits: DeviceTraits): number;
  /**
   * Whether the call does nothing with x but prepare it, for int8 products alone: then what makes x may leave it prepared.
   * The call is one without `prepared`.
   */
  takesPrepared(call: MatmulCall, traits: DeviceTraits): boolean;
}

/** @param tiler how forms are cut over the device */
export function matmulKernel(tiler: MatmulTiler): MatmulKernel {
  const plan = (call: MatmulCall, traits: DeviceTraits): Planning => ({
    call,
    rows: rowsOf(call.x),
    traits,
    tiler,
  });
  return {
    ...sharedStep,
    matrix: 'weight',
    call: matmulCall,
    dispatch: (call, traits) => dispatches(plan(call, traits)),
    scratchBytes(call, traits) {
      const planning = plan(call, traits);
      return scratchPlan(planning).byteLength + slicesMemory(planning).scratchBytes;
    },
    counterBytes: (call, traits) => slicesMemory(plan(call, traits)).counterBytes,
    takesPrepared(call, traits) {
      if (call.norm || call.join) return false;
      const parts = partsOf(plan(call, traits));
      return parts.length > 0 && parts.every(({ form }) => form === 'int8');
    },
    overwritable: overwritableByMatmul,
  };
}

export const matmul = matmulKernel(defaultTiler);

function dispatches(planning: Planning): Dispatch[] {
  if (planning.rows.tokens === 0) return [];
  const preparing = new Map<Prepared, Dispatch>();
  const context = { ...planning, preparing };
  const products = partsOf(context).flatMap(({ form, products: some, after }) => [
    typeof form === 'object'
      ? matrixDispatch(context, some[0], form.tile, scratchPlan(context).byteLength)
      : laneDispatch(context, some, form),
    ...after,
  ]);
  return [...joinAlone(context), ...preparing.values(), ...products];
}

/** Products in order; those that can share a dispatch go with the first of them. */
function partsOf(planning: Planning): Part[] {
  const parts: Part[] = [];
  for (const part of planning.call.products.flatMap((product) => productParts(planning, product))) {
    const host = parts.find(
      ({ form, products }) =>
        form === part.form && products.length < mostProducts && canShare(products[0], part.products[0]),
    );
    if (host) host.products.push(...part.products);
    else parts.push(part);
  }
  return parts;
}

function productParts(planning: Planning, call: ProductCall): Part[] {
  const { gated, out } = call;
  if (elementCount(out.shape) === 0) return [];
  const weight = matrixOf(call.weight);
  const up = gated && matrixOf(gated.up);
  if (gated && up && !sameStorage(weight, up)) {
    // One after the other, the second with the first as its other half: each element is read before it is written.
    const { gated: _, ...gate } = call;
    const post: Post = { kind: 'glu', activation: gated.activation, other: out };
    return [
      ...productParts(planning, { weight: gated.up, out, posts: [] }),
      ...productParts(planning, { ...gate, posts: [post, ...call.posts] }),
    ];
  }
  const fused = fusablePosts(call.posts);
  const own = { ...call, posts: call.posts.slice(0, fused) };
  return [
    {
      form: formOf(planning, weight, up ? 2 : 1),
      products: [{ call: own, weight, ...(up ? { up } : {}) }],
      after: call.posts.slice(fused).flatMap((post) => postDispatches(out, post, planning.traits)),
    },
  ];
}

function formOf({ call, rows, traits, tiler }: Planning, weight: Matrix, banks: 1 | 2): Part['form'] {
  const shape = { dtype: weight.dtype, rows: weight.rows, ...rows, banks };
  const tile = call.fast && isWhole(weight) ? tiler.f16(shape, traits) : undefined;
  if (tile) return { tile };
  return call.fast && weight.planes ? 'int8' : 'float';
}

/** Whether one kernel may walk two weights side by side. */
function sameStorage(a: Matrix, b: Matrix): boolean {
  return (
    a.dtype === b.dtype &&
    a.storedRows === b.storedRows &&
    a.storedColumns === b.storedColumns &&
    a.columnStart === b.columnStart &&
    a.wideColumns === b.wideColumns
  );
}

/** How many posts from the first on: the shader has place for two, and for one gated unit. */
function fusablePosts(posts: readonly Post[]): number {
  const glus = posts.flatMap(({ kind }, index) => (kind === 'glu' ? [index] : []));
  return Math.min(posts.length, fusedPosts, glus[1] ?? Infinity);
}

function postDispatches(out: Operand, post: Post, traits: DeviceTraits): Dispatch[] {
  switch (post.kind) {
    case 'softcap':
      return softcap.dispatch({ x: out, out, cap: post.cap }, traits);
    case 'scale':
      return scale.dispatch({ x: out, out, factor: post.factor }, traits);
    case 'activation':
      return activation.dispatch({ x: out, out, activation: post.activation }, traits);
    case 'glu':
      return glu.dispatch({ gate: out, up: post.other, out, activation: post.activation }, traits);
  }
}
