/** What the shaders of all forms of the product share: the twin of `shaders/include/matmul.glsl`. */
import { chainArgument } from '../dispatch/chain.js';
import { f32, read, u32, write, type Argument, type DeviceTraits, type Place } from '../dispatch/dispatch.js';
import { activationCodes } from './elementwise.js';
import type { Post, ProductCall } from './matmul-call.js';
import type { Matrix } from './matrix.js';

/** The form in which a product takes its activations: f32 as they are, blocks of int8, or f16 for cooperative matrices. */
export type Form = 'float' | 'int8' | 'f16';

/** Numbers of `POST_*` in `shaders/include/matmul.glsl`. */
const postCodes = { softcap: 1, scale: 2, activation: 16, glu: 32 } as const;

/** The most posts that a shader does in passing; others follow as dispatches of their own. */
export const fusedPosts = 2;

/** Products that one dispatch takes at most, each with rows, a result and a bias of its own. */
export const mostProducts = 3;

/** A product as one dispatch does it: its matrices, and no more posts than {@link fusedPosts}. */
export interface SingleProduct {
  readonly call: ProductCall;
  readonly weight: Matrix;
  readonly up?: Matrix;
}

/** Whether two products over the same activations can be parts of one dispatch. */
export function canShare(a: SingleProduct, b: SingleProduct): boolean {
  const isPlain = ({ call, weight }: SingleProduct): boolean =>
    !call.gated &&
    !call.residual &&
    call.posts.length === 0 &&
    weight.columnStart === 0 &&
    weight.columns === weight.storedColumns;
  return (
    isPlain(a) &&
    isPlain(b) &&
    a.weight.dtype === b.weight.dtype &&
    a.weight.wideColumns === b.weight.wideColumns &&
    (a.call.bias === undefined) === (b.call.bias === undefined)
  );
}

function postCode(post: Post | undefined): number {
  if (!post) return 0;
  if (post.kind === 'softcap' || post.kind === 'scale') return postCodes[post.kind];
  return postCodes[post.kind] + activationCodes[post.activation];
}

function postNumber(post: Post | undefined): number {
  return post?.kind === 'softcap' ? post.cap : post?.kind === 'scale' ? post.factor : 0;
}

/** Constants 1 to 5 of `include/matmul.glsl`. */
export function sharedConstants({ call: { gated, bias, residual, posts } }: SingleProduct): number[] {
  const gate = gated ? postCodes.glu + activationCodes[gated.activation] : 0;
  return [gate, bias ? 1 : 0, residual ? 1 : 0, postCode(posts[0]), postCode(posts[1])];
}

const place = (operand: { readonly place: Place } | undefined): Argument =>
  operand ? read(operand.place) : { kind: 'null' };

const places = ({ call: { out, bias }, weight }: SingleProduct): Argument[] => [
  read(weight.place),
  write(out.place),
  place(bias),
];

const extent = ({ weight: { rows, rowStart, storedRows } }: SingleProduct): Argument[] =>
  [rows, rowStart, storedRows].map(u32);

/**
 * Arguments of `include/matmul.glsl`: of one product, or of up to {@link mostProducts} that {@link canShare} a dispatch.
 *
 * @param tokens rows of activations
 */
export function productArguments(
  tokens: number,
  x: Place,
  products: readonly [SingleProduct, ...SingleProduct[]],
): Argument[] {
  const [first, ...more] = products;
  const { call, weight, up } = first;
  if (more.length > 0) {
    const [second, third = first] = more as [SingleProduct, SingleProduct?];
    const all = [first, second, third];
    return [
      ...[read(x), ...all.flatMap(places)],
      ...[u32(tokens), u32(weight.columns), ...all.flatMap(extent)],
    ];
  }
  const other = call.posts.find((post) => post.kind === 'glu')?.other;
  const none: Argument = { kind: 'null' };
  return [
    ...[read(x), ...places(first), place(up), place(call.residual), place(other), none, none, none],
    ...[u32(tokens), u32(weight.columns), ...extent(first)],
    ...[weight.storedColumns, weight.columnStart, up?.rowStart ?? 0].map(u32),
    ...[f32(postNumber(call.posts[0])), f32(postNumber(call.posts[1])), u32(0)],
  ];
}

/** In the list of {@link productArguments}. */
const thirdWeightAt = 7;
const secondRowStartAt = 16;

/**
 * Arguments of the chained variant, which has what belongs to the chain in places of the others that are free: of one
 * product the third's weight and stored rows; of several that take whole matrices where theirs begin and how long they are.
 * Undefined where those are not whole.
 */
export function chainedArguments(
  tokens: number,
  x: Place,
  products: readonly [SingleProduct, ...SingleProduct[]],
): Argument[] | undefined {
  const [, ...more] = products;
  const isWhole = ({ weight: { rows, rowStart, storedRows } }: SingleProduct): boolean =>
    rowStart === 0 && rows === storedRows;
  const before: Argument = { kind: 'before' };
  const given = productArguments(tokens, x, products);
  given[given.length - 1] = before;
  if (more.length === 0) {
    given[thirdWeightAt] = chainArgument;
    return given;
  }
  if (!more.every(isWhole)) return undefined;
  given.splice(secondRowStartAt, 2, chainArgument);
  return given;
}

export function pinnedSubgroup(traits: DeviceTraits): { subgroupSize?: number } {
  const { subgroupSize, minSubgroupSize, maxSubgroupSize } = traits;
  return minSubgroupSize === maxSubgroupSize ? {} : { subgroupSize };
}

export function profileName(products: readonly SingleProduct[], form: Form): string {
  const { call, weight } = products[0]!;
  const count = products.length > 1 ? `${products.length} x ` : '';
  return `${count}matmul${call.gated ? '+glu' : ''} ${weight.dtype} ${form}`;
}
