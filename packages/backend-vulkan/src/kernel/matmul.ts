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
import { isWide, matrixOf, type Matrix } from './matrix.js';
import { defaultTuner, matrixWorkgroup } from './matmul-tile.js';
import type { LaneTile, MatmulTuner, MatrixTile, ProductShape } from './matmul-tile.js';
import type { MatmulCall, Operand, Post, ProductCall } from './operand.js';

type Form = 'float' | 'int8' | 'f16';

/** Activations as a form takes them; f16 in the order in which weights in planes, or others, are decoded. */
type Prepared = 'float' | 'int8' | 'f16' | 'f16 swapped';

const formOf = { float: 'float', int8: 'int8', f16: 'f16', 'f16 swapped': 'f16' } as const;

/** Numbers of `FORM_*` in `shaders/matmul-prepare.comp`. */
const formCodes: Readonly<Record<Form, number>> = { float: 0, int8: 1, f16: 2 };

/** Numbers of `POST_*` in `shaders/include/matmul.glsl`. */
const postCodes = { softcap: 1, scale: 2, activation: 16, glu: 32 } as const;

/** Posts that a shader does in passing; what is left follows as dispatches of its own. */
const fusedPosts = 2;

/** Columns of f16 activations are padded to a multiple of what a step of any tile may take. */
const paddedTo = 64;

/** Vectors that the root mean square of a row takes of shared memory (`SQUARE_SLOTS`). */
const normSharedBytes = 1024;

interface Rows {
  readonly tokens: number;
  readonly columns: number;
}

interface Planning {
  readonly call: MatmulCall;
  readonly rows: Rows;
  readonly traits: DeviceTraits;
  readonly tuner: MatmulTuner;
}

interface Context extends Planning {
  /** What must run before the products. */
  readonly preparing: Map<Prepared, Dispatch>;
}

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

function rowsOf(x: Operand): Rows {
  return { tokens: elementCount(x.shape.slice(0, -1)), columns: x.shape.at(-1) ?? 1 };
}

// ---------------------------------------------------------------- forms

function planOf({ call, rows, traits, tuner }: Planning, weight: Matrix, banks: 1 | 2): Plan {
  const shape: ProductShape = { dtype: weight.dtype, rows: weight.rows, ...rows, banks };
  const matrixTile = call.fast && isWhole(weight) ? tuner.f16(shape, traits) : undefined;
  if (matrixTile) return { form: 'f16', tile: matrixTile };
  return call.fast && weight.planes
    ? { form: 'int8', tile: tuner.int8(shape, traits) }
    : { form: 'float', tile: tuner.float(shape, traits) };
}

/** Whether the f16 form can read a weight: by vectors of eight columns. */
function isWhole({ planes, wideColumns, columns, columnStart }: Matrix): boolean {
  return planes || (wideColumns > 0 && columns % 8 === 0 && columnStart % 8 === 0);
}

const align16 = (bytes: number): number => Math.ceil(bytes / 16) * 16;

function paddedColumns(columns: number): number {
  return Math.ceil(columns / paddedTo) * paddedTo;
}

function preparedBytes(form: Form, { tokens, columns }: Rows): number {
  switch (form) {
    case 'float':
      return align16(4 * tokens * columns);
    case 'int8': {
      // For each block two vectors of quants and half a one of factors.
      const blocks = columns / 32;
      return tokens * 16 * (2 * blocks + Math.ceil(blocks / 2));
    }
    case 'f16':
      return align16(tokens * (2 * paddedColumns(columns) + 4));
  }
}

interface ScratchPlan {
  readonly at: ReadonlyMap<Prepared, number>;
  readonly byteLength: number;
}

/** Where the forms that these products may take lie, one behind the other. Fewer rows may take another form than more. */
function scratchPlan({ call, rows, traits }: Planning): ScratchPlan {
  const hasMatrices = traits.cooperativeMatrix.length > 0;
  const kinds = new Set<Prepared>();
  for (const product of call.products) {
    const weight = matrixOf(product.weight);
    if (call.fast && isWhole(weight) && hasMatrices) kinds.add(weight.planes ? 'f16 swapped' : 'f16');
    // f32 activations are read where they are, unless they are to be normed.
    if (call.fast && weight.planes) kinds.add('int8');
    else if (call.norm) kinds.add('float');
  }
  const at = new Map<Prepared, number>();
  let byteLength = 0;
  for (const kind of kinds) {
    at.set(kind, byteLength);
    byteLength += preparedBytes(formOf[kind], rows);
  }
  return { at, byteLength };
}

/** Where activations of a kind are; the dispatch that makes them goes before the products, once. */
function preparedPlace(context: Context, kind: Prepared): Place {
  const { call, rows, traits, preparing } = context;
  const { x, norm, scratch } = call;
  const offset = scratchPlan(context).at.get(kind);
  if (offset === undefined) return x.place;
  const form = formOf[kind];
  const byteLength = preparedBytes(form, rows);
  const place: Place = { storage: scratch.storage, byteOffset: scratch.byteOffset + offset, byteLength };
  if (preparing.has(kind)) return place;
  const { tokens, columns } = rows;
  const most = 2 ** Math.floor(Math.log2(traits.maxInvocations));
  const workgroup = Math.min(traits.software ? 4 * traits.subgroupSize : 256, most);
  preparing.set(kind, {
    kernel: {
      shader: 'matmul-prepare',
      constants: [
        Math.max(traits.subgroupSize, workgroup),
        formCodes[form],
        norm ? 1 : 0,
        norm?.weight ? 1 : 0,
        isWide(x.place, columns) ? 1 : 0,
        kind === 'f16 swapped' ? 1 : 0,
      ],
      ...pinnedSubgroup(traits),
    },
    arguments: [
      read(x.place),
      norm?.weight ? read(norm.weight.place) : { kind: 'null' },
      write(place),
      u32(tokens),
      u32(columns),
      u32(paddedColumns(columns)),
      f32(norm?.epsilon ?? 0),
      f32(norm?.weightOffset ?? 0),
    ],
    groups: foldedGroups(tokens),
    name: `${norm ? 'rmsNorm+' : ''}prepare ${form}`,
  });
  return place;
}

// ---------------------------------------------------------------- products

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

function pinnedSubgroup(traits: DeviceTraits): { subgroupSize?: number } {
  const { subgroupSize, minSubgroupSize, maxSubgroupSize } = traits;
  return minSubgroupSize === maxSubgroupSize ? {} : { subgroupSize };
}

function profileName(context: Context, product: ProductCall, form: Form, staged: boolean): string {
  const { dtype } = matrixOf(product.weight);
  const parts = [
    ...(staged && context.call.norm ? ['rmsNorm'] : []),
    'matmul',
    ...(product.gated ? ['glu'] : []),
  ];
  return `${parts.join('+')} ${dtype} ${form}`;
}

/** The forms in which lanes of a subgroup share a row of the weight: tiles of activations along x and z, rows along y. */
function laneDispatch(
  context: Context,
  product: ProductCall,
  { form, tile }: Extract<Plan, { tile: LaneTile }>,
  weight: Matrix,
  up?: Matrix,
): Dispatch {
  const { call, rows, traits } = context;
  const { norm } = call;
  const banks = up ? 2 : 1;
  const bytes = form === 'int8' ? preparedBytes(form, rows) : 0;
  const mostBytes = Math.min(tile.stagedBytes, traits.sharedMemoryBytes - normSharedBytes);
  // Rows that several tiles read are not worth preparing again in each workgroup.
  const staged = form === 'int8' && rows.tokens <= tile.tokens && bytes <= mostBytes;
  const x = staged ? call.x.place : preparedPlace(context, form);
  const wideX = isWide(x, rows.columns) ? 1 : 0;
  const wideWeight = weight.wideColumns > 0 && weight.columns % weight.wideColumns === 0 ? 1 : 0;
  const staging = staged ? [1, bytes / 16, norm ? 1 : 0, norm?.weight ? 1 : 0, wideX] : [0, 1, 0, 0, 0];
  const own =
    form === 'float'
      ? [tile.lanes, tile.rows, tile.tokens, wideWeight, wideX, banks]
      : [tile.lanes, tile.rows, tile.tokens, tile.depth, banks, ...staging];
  const [x0, z] = foldedGroups(Math.ceil(rows.tokens / tile.tokens));
  const runs = Math.ceil(weight.rows / ((tile.workgroup / tile.lanes) * tile.rows));
  const mostRuns = Math.max(1, Math.floor(tile.workgroups / (x0 * z)));
  return {
    kernel: {
      shader: `matmul-${form}-${weight.dtype}`,
      constants: [tile.workgroup, ...sharedConstants(product), ...own],
      ...pinnedSubgroup(traits),
    },
    arguments: productArguments(context, x, product, weight, up),
    groups: [x0, Math.min(runs, mostRuns, maximumGroups), z],
    name: profileName(context, product, form, staged),
  };
}

function matrixDispatch(
  context: Context,
  product: ProductCall,
  tile: MatrixTile,
  weight: Matrix,
  up?: Matrix,
): Dispatch {
  const { rows, traits } = context;
  const x = preparedPlace(context, weight.planes ? 'f16 swapped' : 'f16');
  const { m, n, k } = tile.matrix;
  const [y, z] = foldedGroups(Math.ceil(weight.rows / tile.rows));
  return {
    kernel: {
      shader: `matmul-f16-${weight.dtype}`,
      constants: [
        ...[matrixWorkgroup(tile, traits), ...sharedConstants(product)],
        ...[tile.rows, tile.tokens, tile.depth, tile.subgroupRows, tile.subgroupTokens],
        ...[m, n, k, up ? 2 : 1],
      ],
      ...pinnedSubgroup(traits),
    },
    arguments: productArguments(context, x, product, weight, up),
    groups: [Math.ceil(rows.tokens / tile.tokens), y, z],
    name: profileName(context, product, 'f16', false),
  };
}
