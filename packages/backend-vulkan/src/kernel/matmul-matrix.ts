/** Products of many rows by cooperative matrices: `shaders/matmul-f16.comp`. */
import { readWrite, type Argument, type Dispatch, type Place } from '../dispatch/dispatch.js';
import { foldedGroups } from './grid.js';
import { matrixOf } from './matrix.js';
import type { ProductCall } from './matmul-call.js';
import { isWhole, preparedPlace, type Context, type Planning } from './matmul-prepare.js';
import {
  pinnedSubgroup,
  productArguments,
  profileName,
  sharedConstants,
  type SingleProduct,
} from './matmul-product.js';
import { laneTokens, matrixWorkgroup, mostSliceTokens, type MatrixTile } from './matrix-tile.js';

/** Tiles have no more rows of a bank, and no more rows of activations above the second number. */
const mostTileRows = 256;
const mostTileTokens = 128;

/**
 * Rows of activations of a tile up to which steps are fetched one ahead, and two ahead above. Measured on an H200: with tiles
 * of 32 rows two ahead bring nothing (3584 x 3584 takes 17.4 us against 17.1, 152064 x 3584 262 against 259), with tiles of 64
 * and 128 lines of weights they cost a third (a pair of 18944 x 3584 168 against 126); with tiles of 128 rows, 3584 x 3584
 * takes 75 us against 90.
 */
const mostNearTokens = 64;

/** Memory through which workgroups that share a tile's columns pass sums, and the counts of those that are done. */
export interface SliceMemory {
  readonly scratchBytes: number;
  readonly counterBytes: number;
}

const align = (value: number, to: number): number => Math.ceil(value / to) * to;

/** What one product needs, for as many rows as there are or fewer. */
function sliceMemory({ call, rows, traits, tiler }: Planning, product: ProductCall): SliceMemory {
  const weight = matrixOf(product.weight);
  const memory = { scratchBytes: 0, counterBytes: 0 };
  if (!call.fast || !isWhole(weight)) return memory;
  // Halves of a gated pair that cannot go side by side are products of one bank each.
  for (const banks of product.gated ? ([1, 2] as const) : ([1] as const)) {
    const { dtype, rows: weightRows, columns } = weight;
    const most = Math.max(rows.tokens, laneTokens + 1);
    const tokens = Math.min(most, Math.max(mostSliceTokens({ rows: weightRows, banks }), laneTokens + 1));
    const tile = tiler.f16({ dtype, rows: weightRows, columns, tokens, banks }, traits);
    if (!tile || tile.slices === 1) continue;
    // A tile for fewer tokens reaches no further than the next power of two, or than its own size beyond the last.
    const paddedTokens = align(tokens, Math.max(tile.tokens, tokens > 64 ? mostTileTokens : 0));
    const floats = tile.slices * banks * align(weightRows, mostTileRows) * paddedTokens;
    const tiles = Math.ceil(weightRows / 16) * Math.ceil(tokens / 16);
    memory.scratchBytes = Math.max(memory.scratchBytes, 4 * floats);
    memory.counterBytes = Math.max(memory.counterBytes, align(4 * tiles, 16));
  }
  return memory;
}

/** What all products of a call need, one behind the other. */
export function slicesMemory(planning: Planning): SliceMemory {
  return planning.call.products.reduce(
    (sum, product) => {
      const { scratchBytes, counterBytes } = sliceMemory(planning, product);
      return {
        scratchBytes: sum.scratchBytes + scratchBytes,
        counterBytes: sum.counterBytes + counterBytes,
      };
    },
    { scratchBytes: 0, counterBytes: 0 },
  );
}

/**
 * The places through which the slices of a product pass their sums and counts.
 *
 * @param scratchStart bytes that lie before in the call's scratch
 */
function slicePlaces(context: Context, { call }: SingleProduct, scratchStart: number): Argument[] {
  const { products, scratch, counters } = context.call;
  const index = products.findIndex(({ weight, gated }) => [weight, gated?.up].includes(call.weight));
  const before = slicesMemory({ ...context, call: { ...context.call, products: products.slice(0, index) } });
  const own = sliceMemory(context, products[index]!);
  const part = (place: Place, offset: number, byteLength: number): Place => ({
    ...place,
    byteOffset: place.byteOffset + offset,
    byteLength,
  });
  return [
    readWrite(part(scratch, scratchStart + before.scratchBytes, own.scratchBytes)),
    readWrite(part(counters, before.counterBytes, own.counterBytes)),
  ];
}

/** Index of `thirdResult` and `thirdBias` among the arguments: slices take their places. */
const sliceArgument = 8;

/** @param scratchStart where in the call's scratch the slices' memory begins */
export function matrixDispatch(
  context: Context,
  product: SingleProduct,
  tile: MatrixTile,
  scratchStart: number,
): Dispatch {
  const { rows, traits } = context;
  const { weight, up } = product;
  const x = preparedPlace(context, weight.planes ? 'f16 swapped' : 'f16');
  const [y, z] = foldedGroups(Math.ceil(weight.rows / tile.rows));
  const all = productArguments(rows.tokens, x, [product]);
  if (tile.slices > 1) all.splice(sliceArgument, 2, ...slicePlaces(context, product, scratchStart));
  return {
    pipeline: {
      shader: `matmul-f16-${tile.tokens > mostNearTokens ? 2 : 1}-${weight.dtype}`,
      constants: [
        ...[matrixWorkgroup(tile, traits), ...sharedConstants(product)],
        ...[tile.rows, tile.tokens, tile.depth, tile.subgroupRows, tile.subgroupTokens],
        ...[up ? 2 : 1, tile.slices],
      ],
      ...pinnedSubgroup(traits),
    },
    arguments: all,
    groups: [Math.ceil(rows.tokens / tile.tokens) * tile.slices, y, z],
    name: profileName([product], 'f16'),
  };
}
