/** How products by cooperative matrices are cut over a device, and when they are. */
import type { CooperativeMatrixShape, DeviceTraits } from '../dispatch.js';
import type { ProductShape } from './matmul-tile.js';

/** Of `matmul-f16`: what a workgroup and each of its subgroups make. */
export interface MatrixTile {
  readonly rows: number;
  readonly tokens: number;
  /** Columns of a step: a multiple of 32 and of the matrix's own. */
  readonly depth: number;
  readonly subgroupRows: number;
  readonly subgroupTokens: number;
  /** The hardware's matrix. */
  readonly matrix: CooperativeMatrixShape;
}

/** Invocations of a workgroup: one subgroup for each part of the tile. */
export function matrixWorkgroup(
  { rows, tokens, subgroupRows, subgroupTokens }: Omit<MatrixTile, 'matrix' | 'depth'>,
  { subgroupSize }: DeviceTraits,
): number {
  return (rows / subgroupRows) * (tokens / subgroupTokens) * subgroupSize;
}

/**
 * Rows of activations up to which weights are read once or twice by lanes: cooperative matrices would be half empty, and
 * their results have other bits (f16 instead of int8 activations).
 */
export const laneTokens = 16;

function matrixShape({ cooperativeMatrix }: DeviceTraits): CooperativeMatrixShape | undefined {
  return cooperativeMatrix.find(
    ({ m, n, k, a, result, scope }) =>
      a === 'f16' && result === 'f32' && scope === 'subgroup' && m === 16 && n === 16 && 32 % k === 0,
  );
}

/** Bytes of shared memory of a step: f16 weights and activations, each line 16 bytes longer than it is. */
export function stepBytes(
  banks: number,
  { rows, tokens, depth }: Pick<MatrixTile, 'rows' | 'tokens' | 'depth'>,
): number {
  return (banks * rows + tokens) * (2 * depth + 16);
}

export function f16Tile({ tokens, banks, rows }: ProductShape, traits: DeviceTraits): MatrixTile | undefined {
  const matrix = matrixShape(traits);
  if (!matrix || tokens <= laneTokens) return undefined;
  // Tiles in order of taste: each weight is decoded once for as many rows of activations as there are.
  const wide = tokens > 64 ? 128 : tokens > 32 ? 64 : 32;
  const candidates = [
    {
      tokens: wide,
      rows: wide / banks,
      subgroupTokens: wide / 4,
      subgroupRows: wide / 2 / banks,
      depth: 64,
    },
    { tokens: 64, rows: 64 / banks, subgroupTokens: 32, subgroupRows: 32 / banks, depth: 32 },
    { tokens: 32, rows: 32 / banks, subgroupTokens: 16, subgroupRows: 16, depth: 32 },
  ];
  const fits = candidates.find(
    (tile) =>
      tile.subgroupRows >= matrix.m &&
      tile.subgroupTokens >= matrix.n &&
      stepBytes(banks, tile) <= traits.sharedMemoryBytes &&
      matrixWorkgroup(tile, traits) <= traits.maxInvocations &&
      rows > 0,
  );
  return fits && { ...fits, matrix };
}

/** Whether a device can run a tile at all. */
export function fitsDevice(tile: MatrixTile, banks: number, traits: DeviceTraits): boolean {
  return (
    tile.subgroupRows % tile.matrix.m === 0 &&
    tile.subgroupTokens % tile.matrix.n === 0 &&
    tile.rows % tile.subgroupRows === 0 &&
    tile.tokens % tile.subgroupTokens === 0 &&
    stepBytes(banks, tile) <= traits.sharedMemoryBytes &&
    matrixWorkgroup(tile, traits) <= traits.maxInvocations
  );
}
