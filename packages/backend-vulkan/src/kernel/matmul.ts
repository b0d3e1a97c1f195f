/**
 * Products with weights. Three forms of one meaning:
 *
 *   float  f32 throughout, weights of any type decoded on the way: precision `f32`, and weights that are not quantized
 *   int8   activations in int8 blocks of 32 columns with one scale each, weights in planes, exact integer dots
 *
 * The norm before and the sum, function or gate after a product are done in passing. Within a form a row's result has the
 * same bits in every batch (the shaders say how).
 */
import {
  f32,
  maximumGroups,
  read,
  u32,
  write,
  type Argument,
  type DeviceTraits,
  type Dispatch,
  type Place,
} from '../dispatch.js';
import { activation, activationCodes, glu, scale, softcap } from './elementwise.js';
import { foldedGroups, product as elementCount } from './grid.js';
import { defaultTuner, type LaneTile, type MatmulTuner, type ProductShape } from './matmul-tile.js';
import { isWide, matrixOf, type Matrix } from './matrix.js';
import type { MatmulCall, Operand, Post, ProductCall } from './operand.js';

/** Activations as a form takes them. */
type Form = 'float' | 'int8';

/** Numbers of `POST_*` in `shaders/include/matmul.glsl`. */
const postCodes = { softcap: 1, scale: 2, activation: 16, glu: 32 } as const;

/** Posts that a shader does in passing; what is left follows as dispatches of its own. */
const fusedPosts = 2;

const align16 = (bytes: number): number => Math.ceil(bytes / 16) * 16;

/** Bytes of a row of prepared int8 activations: two vectors of quants and half a one of factors for each block. */
function int8RowBytes(columns: number): number {
  const blocks = columns / 32;
  return 16 * (2 * blocks + Math.ceil(blocks / 2));
}

/** Vectors that the root mean square of a row takes of shared memory (`SQUARE_SLOTS`). */
const normSharedBytes = 1024;

interface Rows {
  readonly tokens: number;
  readonly columns: number;
}

function rowsOf(x: Operand): Rows {
  const columns = x.shape.at(-1) ?? 1;
  return { tokens: elementCount(x.shape.slice(0, -1)), columns };
}

function formOf({ weight }: ProductCall, fast: boolean): Form {
  return fast && matrixOf(weight).planes ? 'int8' : 'float';
}

function preparedBytes(form: Form, { tokens, columns }: Rows): number {
  return form === 'float' ? align16(4 * tokens * columns) : tokens * int8RowBytes(columns);
}

/** Where the activations of each form lie in the scratch, one behind the other. */
function scratchPlan(call: MatmulCall): {
  readonly at: ReadonlyMap<Form, number>;
  readonly byteLength: number;
} {
  const rows = rowsOf(call.x);
  const forms = new Set(call.products.map((product) => formOf(product, call.fast)));
  const at = new Map<Form, number>();
  let byteLength = 0;
  for (const form of ['float', 'int8'] as const) {
    // f32 activations are read where they are, unless they are to be normed.
    if (!forms.has(form) || (form === 'float' && !call.norm)) continue;
    at.set(form, byteLength);
    byteLength += preparedBytes(form, rows);
  }
  return { at, byteLength };
}

export function matmulScratchBytes(call: MatmulCall): number {
  return scratchPlan(call).byteLength;
}

export function matmul(
  call: MatmulCall,
  traits: DeviceTraits,
  tuner: MatmulTuner = defaultTuner,
): Dispatch[] {
  const rows = rowsOf(call.x);
  if (rows.tokens === 0) return [];
  const preparing = new Map<Form, Dispatch>();
  const products = call.products.flatMap((product) =>
    productDispatches({ call, rows, traits, tuner, preparing }, product),
  );
  return [...preparing.values(), ...products];
}

interface Context {
  readonly call: MatmulCall;
  readonly rows: Rows;
  readonly traits: DeviceTraits;
  readonly tuner: MatmulTuner;
  /** What must run before the products. */
  readonly preparing: Map<Form, Dispatch>;
}

/** Two weights that one kernel may walk side by side. */
function sameStorage(a: Matrix, b: Matrix): boolean {
  return (
    a.dtype === b.dtype &&
    a.storedRows === b.storedRows &&
    a.storedColumns === b.storedColumns &&
    a.columnStart === b.columnStart &&
    a.wideColumns === b.wideColumns
  );
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
  const rest = product.posts.slice(fused).flatMap((post) => postDispatches(out, post));
  return [laneDispatch(context, own, weight, up), ...rest];
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

function postCode(post: Post | undefined): number {
  if (!post) return 0;
  if (post.kind === 'softcap' || post.kind === 'scale') return postCodes[post.kind];
  return postCodes[post.kind] + activationCodes[post.activation];
}

function postNumber(post: Post | undefined): number {
  return post?.kind === 'softcap' ? post.cap : post?.kind === 'scale' ? post.factor : 0;
}

/** Constants 1 to 5 of `include/matmul.glsl`. */
function sharedConstants({ gated, bias, residual, posts }: ProductCall): number[] {
  const gate = gated ? postCodes.glu + activationCodes[gated.activation] : 0;
  return [gate, bias ? 1 : 0, residual ? 1 : 0, postCode(posts[0]), postCode(posts[1])];
}

/** Arguments of `include/matmul.glsl`. */
function productArguments(
  context: Context,
  x: Place,
  product: ProductCall,
  weight: Matrix,
  up?: Matrix,
): Argument[] {
  const { norm } = context.call;
  const { bias, residual, posts, out } = product;
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
    u32(context.rows.tokens),
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

/** Workgroups of the forms in which lanes share a row: tiles of activations along x and z, runs of rows along y. */
function laneGroups({ tokens }: Rows, rows: number, tile: LaneTile): [number, number, number] {
  const [x, z] = foldedGroups(Math.ceil(tokens / tile.tokens));
  const runs = Math.ceil(rows / ((tile.workgroup / tile.lanes) * tile.rows));
  const most = Math.max(1, Math.floor(tile.workgroups / (x * z)));
  return [x, Math.min(runs, most, maximumGroups), z];
}

function pinnedSubgroup({ subgroupSize, minSubgroupSize, maxSubgroupSize }: DeviceTraits): {
  subgroupSize?: number;
} {
  return minSubgroupSize === maxSubgroupSize ? {} : { subgroupSize };
}

function profileName(context: Context, product: ProductCall, form: string, staged: boolean): string {
  const { dtype } = matrixOf(product.weight);
  const parts = [
    staged && context.call.norm ? 'rmsNorm' : undefined,
    'matmul',
    product.gated ? 'glu' : undefined,
  ];
  return `${parts.filter((part) => part !== undefined).join('+')} ${dtype} ${form}`;
}

function laneDispatch(context: Context, product: ProductCall, weight: Matrix, up?: Matrix): Dispatch {
  const { call, rows, traits, tuner } = context;
  const form = formOf(product, call.fast);
  const banks = up ? 2 : 1;
  const shape: ProductShape = { dtype: weight.dtype, rows: weight.rows, ...rows, banks };
  const tile = form === 'float' ? tuner.float(shape, traits) : tuner.int8(shape, traits);
  const bytes = form === 'int8' ? preparedBytes(form, rows) : 0;
  // Rows that are read again by other tiles are not worth preparing again.
  const staged =
    form === 'int8' &&
    rows.tokens <= tile.tokens &&
    bytes <= Math.min(tile.stagedBytes, stagingLimit(traits));
  const x = staged ? call.x.place : preparedPlace(context, form);
  const wideX = isWide(x, rows.columns) ? 1 : 0;
  const wideWeight = weight.wideColumns > 0 && weight.columns % weight.wideColumns === 0 ? 1 : 0;
  const own =
    form === 'float'
      ? [tile.lanes, tile.rows, tile.tokens, wideWeight, wideX, banks]
      : [
          ...[tile.lanes, tile.rows, tile.tokens, tile.depth, banks],
          ...(staged
            ? [1, bytes / 16, call.norm ? 1 : 0, call.norm?.weight ? 1 : 0, wideX]
            : [0, 1, 0, 0, 0]),
        ];
  return {
    kernel: {
      shader: `matmul-${form}-${weight.dtype}`,
      constants: [tile.workgroup, ...sharedConstants(product), ...own],
      ...pinnedSubgroup(traits),
    },
    arguments: productArguments(context, x, product, weight, up),
    groups: laneGroups(rows, weight.rows, tile),
    name: profileName(context, product, form, staged),
  };
}

/** Shared memory that staged activations may take beside what a norm needs. */
function stagingLimit({ sharedMemoryBytes }: DeviceTraits): number {
  return sharedMemoryBytes - normSharedBytes;
}

/** Where the activations of a form are, once; the dispatch that makes them goes before the products. */
function preparedPlace(context: Context, form: Form): Place {
  const { call, rows, traits, preparing } = context;
  const { x, norm, scratch } = call;
  const offset = scratchPlan(call).at.get(form);
  if (offset === undefined) return x.place;
  const byteLength = preparedBytes(form, rows);
  const place: Place = { storage: scratch.storage, byteOffset: scratch.byteOffset + offset, byteLength };
  if (preparing.has(form)) return place;
  const { tokens, columns } = rows;
  const codes = { float: 0, int8: 1 } as const;
  const workgroup = traits.software ? 4 * traits.subgroupSize : 256;
  preparing.set(form, {
    kernel: {
      shader: 'matmul-prepare',
      constants: [
        Math.max(traits.subgroupSize, Math.min(workgroup, largestWorkgroup(traits))),
        codes[form],
        norm ? 1 : 0,
        norm?.weight ? 1 : 0,
        isWide(x.place, columns) ? 1 : 0,
        0,
      ],
      ...pinnedSubgroup(traits),
    },
    arguments: [
      read(x.place),
      norm?.weight ? read(norm.weight.place) : { kind: 'null' },
      write(place),
      u32(tokens),
      u32(columns),
      u32(columns),
      f32(norm?.epsilon ?? 0),
      f32(norm?.weightOffset ?? 0),
    ],
    groups: foldedGroups(tokens),
    name: `${norm ? 'rmsNorm+' : ''}prepare ${form}`,
  });
  return place;
}

function largestWorkgroup({ maxInvocations }: DeviceTraits): number {
  return 2 ** Math.floor(Math.log2(maxInvocations));
}
