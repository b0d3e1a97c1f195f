/**
 * Which tiles the shaders can run on a device. Tuned tiles come from a file, which may be foreign or damaged: those that do
 * not pass here are not used. The default tiles always pass.
 */
import type { DeviceTraits } from '../dispatch/dispatch.js';
import type { LaneTile } from './lane-tile.js';
import type { ProductShape } from './product-shape.js';
import { fitsDevice, type MatrixTile } from './matrix-tile.js';

/** Sums of an invocation, in f32: of 255 registers on NVIDIA's devices and 256 on AMD's at most half are theirs. */
const mostSums = 128;

const isPower = (value: number): boolean =>
  Number.isSafeInteger(value) && value >= 1 && (value & (value - 1)) === 0;

const isMultiple = (value: number, of: number): boolean =>
  Number.isSafeInteger(value) && value > 0 && value % of === 0;

/**
 * Whether a form can have so many lanes. The rest of the tile is not asked, since the answer must not depend on anything that
 * a batch changes. Above a subgroup, where a form can, lanes are whole subgroups of one workgroup.
 */
export function lanesFit(form: 'int8' | 'float', lanes: number, traits: DeviceTraits): boolean {
  const { subgroupSize, maxInvocations } = traits;
  return isPower(lanes) && lanes <= (form === 'int8' && !traits.software ? maxInvocations : subgroupSize);
}

/** Limits on the fields of a tile besides its lanes. */
export function laneTileFits(tile: LaneTile, banks: 1 | 2, traits: DeviceTraits): boolean {
  const { workgroup, lanes, rows, tokens, depth, workgroups } = tile;
  return (
    isMultiple(workgroup, traits.subgroupSize) &&
    isMultiple(workgroup, lanes) &&
    workgroup <= traits.maxInvocations &&
    isPower(rows) &&
    rows <= 16 &&
    isMultiple(tokens, 1) &&
    rows * banks * tokens <= mostSums &&
    isMultiple(depth, 1) &&
    depth <= 16 &&
    (workgroups === Infinity || isMultiple(workgroups, 1))
  );
}

/** Tokens up to which a tile may reach beyond the last one: the memory that slices meet in is laid out for that. */
function mostTokens(tokens: number): number {
  return tokens > 64 ? 128 : 2 ** Math.ceil(Math.log2(Math.max(1, tokens)));
}

export function matrixTileFits(
  tile: MatrixTile,
  { banks, tokens }: Pick<ProductShape, 'banks' | 'tokens'>,
  traits: DeviceTraits,
): boolean {
  return (
    [tile.rows, tile.tokens, tile.depth, tile.subgroupRows, tile.subgroupTokens].every(isPower) &&
    tile.rows <= 256 &&
    tile.tokens <= mostTokens(tokens) &&
    (tile.depth === 32 || tile.depth === 64) &&
    banks * tile.subgroupRows * tile.subgroupTokens <= mostSums * traits.subgroupSize &&
    fitsDevice(tile, banks, traits)
  );
}
