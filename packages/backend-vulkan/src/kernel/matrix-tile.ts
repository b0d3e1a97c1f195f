/** How products by cooperative matrices are cut over a device, and when they are. */
import type { DeviceTraits } from '../dispatch/dispatch.js';
import type { ProductShape } from './product-shape.js';

/** Tile of `matmul-f16`: what a workgroup and each of its subgroups make. */
export interface MatrixTile {
  /** Rows of the weight, of each bank. */
  readonly rows: number;
  readonly tokens: number;
  /** Columns of a step: 32 or 64. */
  readonly depth: number;
  readonly subgroupRows: number;
  readonly subgroupTokens: number;
  /** Workgroups that share a tile's columns. It decides bits of results: see {@link mostSliceTokens}. */
  readonly slices: number;
}

/** Rows, columns and depth of the hardware's matrix. */
const side = 16;

/**
 * Rows of activations up to which weights are read once or twice by lanes: cooperative matrices would be half empty, and
 * their results have other bits (f16 instead of int8 activations).
 */
export const laneTokens = 16;

/** More slices cost more in sums that pass through memory than they bring. */
const mostSlices = 8;

/** Workgroups for each compute unit that keep it busy: those of the largest tiles have but four subgroups. */
const occupied = 2;

/**
 * Sums of a slice: where there are more, rows of activations occupy the device, and sums on their way through memory take
 * as long as they save. It makes results of few rows and of many differ in their last bits, as the limit of lanes does.
 */
const mostSliceSums = 2 ** 20;

/** Columns that a slice has at least: below, a workgroup mostly begins and ends. */
const leastSliceColumns = 768;

export function hasMatrices({ cooperativeMatrix }: DeviceTraits): boolean {
  return cooperativeMatrix.some(
    ({ m, n, k, a, result, scope }) =>
      a === 'f16' && result === 'f32' && scope === 'subgroup' && m === side && n === side && k === side,
  );
}

/** Invocations of a workgroup: one subgroup for each part of the tile. */
export function matrixWorkgroup(
  { rows, tokens, subgroupRows, subgroupTokens }: MatrixTile,
  { subgroupSize }: DeviceTraits,
): number {
  return (rows / subgroupRows) * (tokens / subgroupTokens) * subgroupSize;
}

/** Bytes of shared memory: two steps of f16 weights and activations, each line 16 bytes longer than it is; or results. */
export function matrixSharedBytes(tile: MatrixTile, banks: number): number {
  const { rows, tokens, depth, subgroupRows, subgroupTokens } = tile;
  const steps = 2 * (banks * rows + tokens) * (2 * depth + 16);
  const subgroups = (rows / subgroupRows) * (tokens / subgroupTokens);
  const results = subgroups * banks * side * (4 * side + 16);
  // 16 more bytes tell whether the workgroup is the last.
  return Math.max(steps, results) + 16;
}

/**
 * What the shader has literal loops for: matrices of weights (of all banks) and of tokens of a subgroup, and vectors of 16
 * bytes of f16 weights and of activations that an invocation moves in a step.
 */
const limits = { weightMatrices: 4, tokenMatrices: 4, weightVectors: 8, tokenVectors: 8 } as const;

/** Whether a device can run a tile at all. */
export function fitsDevice(tile: MatrixTile, banks: number, traits: DeviceTraits): boolean {
  const { rows, tokens, depth, subgroupRows, subgroupTokens } = tile;
  const vectorsEach = (lines: number): number => (lines * depth) / 8 / matrixWorkgroup(tile, traits);
  return (
    (banks * subgroupRows) / side <= limits.weightMatrices &&
    subgroupTokens / side <= limits.tokenMatrices &&
    vectorsEach(banks * rows) <= limits.weightVectors &&
    vectorsEach(tokens) <= limits.tokenVectors &&
    [subgroupRows, subgroupTokens].every((part) => part >= side && part % side === 0) &&
    rows % subgroupRows === 0 &&
    tokens % subgroupTokens === 0 &&
    matrixSharedBytes(tile, banks) <= traits.sharedMemoryBytes &&
    matrixWorkgroup(tile, traits) <= traits.maxInvocations &&
    // A line is loaded by neighbours.
    matrixWorkgroup(tile, traits) % (depth / 8) === 0
  );
}

/** Rows of activations up to which columns are cut in slices. */
export function mostSliceTokens({ rows, banks }: Pick<ProductShape, 'rows' | 'banks'>): number {
  return Math.floor(mostSliceSums / (banks * rows));
}

/** In how many slices the columns are cut, such that few rows of activations occupy the device too. */
function slicesFor(shape: ProductShape, { computeUnits }: DeviceTraits): number {
  const { rows, columns, banks, tokens } = shape;
  if (tokens > mostSliceTokens(shape)) return 1;
  const tiles = Math.ceil((banks * rows) / 128);
  const wanted = Math.floor((occupied * computeUnits) / tiles);
  return Math.max(1, Math.min(wanted, mostSlices, Math.floor(columns / leastSliceColumns)));
}

/**
 * [lines of weights, tokens, depth, lines of weights and tokens of a subgroup, workgroups for each compute unit below which
 * it is not taken]: lines are rows of all banks.
 */
type Cut = readonly [number, number, number, number, number, number];

/**
 * For up to so many tokens, those preferred first that {@link load} holds for equal. Each weight is decoded once for as many
 * tokens as there are. Few tokens take 8 subgroups of 32 lines by 16 tokens: what is multiplied is little, and more
 * subgroups hide more of memory's delay; many take as much as a subgroup's registers hold of what it reads from shared
 * memory.
 */
const cuts: readonly { readonly tokens: number; readonly cuts: readonly Cut[] }[] = [
  {
    tokens: 32,
    cuts: [
      [64, 32, 64, 32, 16, 1],
      [128, 32, 64, 32, 16, 1],
      [32, 32, 64, 16, 16, 0],
      // For a gated pair a subgroup has at least 16 rows of each bank.
      [32, 32, 64, 32, 16, 0],
      [32, 32, 32, 32, 16, 0],
    ],
  },
  {
    tokens: 64,
    cuts: [
      [64, 64, 64, 32, 32, 0],
      [128, 64, 32, 64, 32, occupied],
      [64, 64, 32, 32, 32, 0],
    ],
  },
  {
    tokens: Infinity,
    cuts: [
      // 3584 x 18944 with 512 tokens takes 352 us on an H200, 383 with subgroups of 64 by 32.
      [128, 128, 32, 64, 64, 0.4 * occupied],
      [64, 64, 64, 32, 32, 0],
      [64, 64, 32, 32, 32, 0],
    ],
  },
];

/**
 * How long a product takes, up to a factor: a step of a workgroup takes as long as it brings lines of weights and of
 * activations into shared memory, and the device as long as the compute unit that has most workgroups. Measured on an H200
 * (132 units) for 32 tokens by 64, 128 and 32 lines, in us: 3584 x 18944 in 8 slices 61, 47, 60 (loads of 384, 320, 448);
 * 152064 x 3584 280, 257, 346 (1728, 1440, 2304); a pair of 18944 x 3584 92, 94, 90 (480, 480, 576). A workgroup alone on a
 * unit waits for memory: where not every unit has one, smaller ones are as fast or faster than their loads, 17.2 us for
 * 3584 x 3584 in 4 slices against 18.0 (192, 160), and for 512 x 3584 12.6, 15.5, 10.0.
 */
function load(workgroups: number, lines: number, tokens: number, { computeUnits }: DeviceTraits): number {
  return Math.ceil(workgroups / computeUnits) * (lines + tokens);
}

/** The tile for a product, or undefined for few rows and where nothing fits. */
export function f16Tile(shape: ProductShape, traits: DeviceTraits): MatrixTile | undefined {
  const { rows, tokens, banks } = shape;
  if (!hasMatrices(traits) || tokens <= laneTokens) return undefined;
  const slices = slicesFor(shape, traits);
  let best: MatrixTile | undefined;
  let leastLoad = Infinity;
  for (const cut of cuts.find((range) => tokens <= range.tokens)!.cuts) {
    const [lines, tileTokens, depth, subgroupLines, subgroupTokens, leastWorkgroups] = cut;
    const tile = {
      rows: lines / banks,
      tokens: tileTokens,
      depth,
      subgroupRows: subgroupLines / banks,
      subgroupTokens,
      slices,
    };
    const workgroups = slices * Math.ceil(rows / tile.rows) * Math.ceil(tokens / tileTokens);
    if (!fitsDevice(tile, banks, traits) || workgroups < leastWorkgroups * traits.computeUnits) continue;
    const tileLoad = load(workgroups, lines, tileTokens, traits);
    if (tileLoad >= leastLoad) continue;
    best = tile;
    leastLoad = tileLoad;
  }
  return best;
}
