/**
 * Products with weights. Three forms of one meaning:
 *
 *   float  f32 throughout, weights of any type decoded on the way: precision `f32`, and weights that are not quantized
 *   int8   activations in int8 blocks of 32 columns with one scale each, weights in planes, exact integer dots
 *   f16    activations and decoded weights in f16, f32 sums, by cooperative matrices: many rows
 *
 * The norm before and the sum, function or gate after a product are done in passing. Within a form a row's result has the
 * same bits in every batch (the shaders say how). The form follows from the weight, the precision and, on devices with
 * cooperative matrices alone, from whether there are more than `laneTokens` rows.
 */
import type { DeviceTraits, Dispatch } from '../dispatch.js';
import { activation, glu, scale, softcap } from './elementwise.js';
import { product as elementCount } from './grid.js';
import type { LaneTile } from './lane-tile.js';
import { matrixOf, type Matrix } from './matrix.js';
import type { MatrixTile } from './matrix-tile.js';
import { laneDispatch } from './matmul-lane.js';
import { matrixDispatch } from './matmul-matrix.js';
import {
  isWhole,
  rowsOf,
  scratchPlan,
  type Context,
  type Planning,
  type Prepared,
} from './matmul-prepare.js';
import { fusedPosts } from './matmul-product.js';
import { defaultTuner, type MatmulTuner, type ProductShape } from './matmul-tile.js';
import type { MatmulCall, Operand, Post, ProductCall } from './operand.js';

/** What a product is computed by. */
type Plan =
  | { readonly form: 'float' | 'int8'; readonly tile: LaneTile }
  | { readonly form: 'f16'; readonly tile: MatrixTile };

/** @param tuner how forms are cut over the device */
export function matmul(
  call: MatmulCall,
  traits: DeviceTraits,
  tuner: MatmulTuner = defaultTuner,
): Dispatch[] {
  const rows = rowsOf(call.x);
  if (rows.tokens === 0) return [];
  const preparing = new Map<Prepared, Dispatch>();
  const context = { call, rows, traits, tuner, preparing };
  const products = call.products.flatMap((product) => productDispatches(context, product));
  return [...preparing.values(), ...products];
}

/** Scratch for as many rows as `call` has, or fewer. */
export function matmulScratchBytes(
  call: MatmulCall,
  traits: DeviceTraits,
  tuner: MatmulTuner = defaultTuner,
): number {
  return scratchPlan({ call, rows: rowsOf(call.x), traits, tuner }).byteLength;
}

function planOf({ call, rows, traits, tuner }: Planning, weight: Matrix, banks: 1 | 2): Plan {
  const shape: ProductShape = { dtype: weight.dtype, rows: weight.rows, ...rows, banks };
  const matrixTile = call.fast && isWhole(weight) ? tuner.f16(shape, traits) : undefined;
  if (matrixTile) return { form: 'f16', tile: matrixTile };
  return call.fast && weight.planes
    ? { form: 'int8', tile: tuner.int8(shape, traits) }
    : { form: 'float', tile: tuner.float(shape, traits) };
}

function productDispatches(context: Context, product: ProductCall): Dispatch[] {
  const { gated, out } = product;
  if (elementCount(out.shape) === 0) return [];
  const weight = matrixOf(product.weight);
  const up = gated && matrixOf(gated.up);
  if (gated && up && !sameStorage(weight, up)) {
    // One after the other, the second with the first as its other half: each element is read before it is written.
    const { gated: _, ...gate } = product;
    const post: Post = { kind: 'glu', activation: gated.activation, other: out };
    return [
      ...productDispatches(context, { weight: gated.up, out, posts: [] }),
      ...productDispatches(context, { ...gate, posts: [post, ...product.posts] }),
    ];
  }
  const fused = fusablePosts(product.posts);
  const own = { ...product, posts: product.posts.slice(0, fused) };
  const plan = planOf(context, weight, up ? 2 : 1);
  const dispatch =
    plan.form === 'f16'
      ? matrixDispatch(context, own, plan.tile, weight, up)
      : laneDispatch(context, own, plan, weight, up);
  return [dispatch, ...product.posts.slice(fused).flatMap((post) => postDispatches(out, post))];
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

function postDispatches(out: Operand, post: Post): Dispatch[] {
  switch (post.kind) {
    case 'softcap':
      return softcap({ x: out, out, cap: post.cap });
    case 'scale':
      return scale({ x: out, out, factor: post.factor });
    case 'activation':
      return activation({ x: out, out, activation: post.activation });
    case 'glu':
      return glu({ gate: out, up: post.other, out, activation: post.activation });
  }
}
