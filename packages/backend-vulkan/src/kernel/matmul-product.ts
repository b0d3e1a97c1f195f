/** What the shaders of all forms of the product share: the twin of `shaders/include/matmul.glsl`. */
import { f32, read, u32, write, type Argument, type DeviceTraits, type Place } from '../dispatch.js';
import { activationCodes } from './elementwise.js';
import { matrixOf, type Matrix } from './matrix.js';
import type { Context, Form } from './matmul-prepare.js';
import type { Post, ProductCall } from './operand.js';

/** Numbers of `POST_*` in `shaders/include/matmul.glsl`. */
const postCodes = { softcap: 1, scale: 2, activation: 16, glu: 32 } as const;

/** Posts that a shader does in passing; what is left follows as dispatches of its own. */
export const fusedPosts = 2;

function postCode(post: Post | undefined): number {
  if (!post) return 0;
  if (post.kind === 'softcap' || post.kind === 'scale') return postCodes[post.kind];
  return postCodes[post.kind] + activationCodes[post.activation];
}

function postNumber(post: Post | undefined): number {
  return post?.kind === 'softcap' ? post.cap : post?.kind === 'scale' ? post.factor : 0;
}

/** Constants 1 to 5 of `include/matmul.glsl`. */
export function sharedConstants({ gated, bias, residual, posts }: ProductCall): number[] {
  const gate = gated ? postCodes.glu + activationCodes[gated.activation] : 0;
  return [gate, bias ? 1 : 0, residual ? 1 : 0, postCode(posts[0]), postCode(posts[1])];
}

/** Arguments of `include/matmul.glsl`. */
export function productArguments(
  { call: { norm }, rows }: Context,
  x: Place,
  { bias, residual, posts, out }: ProductCall,
  weight: Matrix,
  up?: Matrix,
): Argument[] {
  const other = posts.find((post) => post.kind === 'glu')?.other;
  const place = (operand: { readonly place: Place } | undefined): Argument =>
    operand ? read(operand.place) : { kind: 'null' };
  return [
    read(x),
    place(norm?.weight),
    read(weight.place),
    place(up),
    write(out.place),
    place(bias),
    place(residual),
    place(other),
    u32(rows.tokens),
    u32(weight.columns),
    u32(weight.rows),
    u32(weight.storedRows),
    u32(weight.storedColumns),
    u32(weight.rowStart),
    u32(weight.columnStart),
    u32(up?.rowStart ?? 0),
    f32(norm?.epsilon ?? 0),
    f32(norm?.weightOffset ?? 0),
    f32(postNumber(posts[0])),
    f32(postNumber(posts[1])),
  ];
}

export function pinnedSubgroup(traits: DeviceTraits): { subgroupSize?: number } {
  const { subgroupSize, minSubgroupSize, maxSubgroupSize } = traits;
  return minSubgroupSize === maxSubgroupSize ? {} : { subgroupSize };
}

export function profileName(context: Context, product: ProductCall, form: Form, staged: boolean): string {
  const { dtype } = matrixOf(product.weight);
  const parts = [
    ...(staged && context.call.norm ? ['rmsNorm'] : []),
    'matmul',
    ...(product.gated ? ['glu'] : []),
  ];
  return `${parts.join('+')} ${dtype} ${form}`;
}
