/** The tiles that tuning tries: those of a small grid around good ones that the shaders can run. */
import type { DeviceTraits } from '../dispatch/dispatch.js';
import type { LaneTile } from '../kernel/lane-tile.js';
import type { ProductShape } from '../kernel/product-shape.js';
import type { MatrixTile } from '../kernel/matrix-tile.js';
import { laneTileFits, lanesFit, matrixTileFits } from '../kernel/tile-limits.js';
import type { LaneFields, MatrixFields } from './tuning.js';

function combinations<T extends object>(options: {
  readonly [Field in keyof T]-?: readonly T[Field][];
}): T[] {
  return Object.entries(options).reduce<object[]>(
    (made, [field, values]) =>
      made.flatMap((one) => (values as unknown[]).map((value) => ({ ...one, [field]: value }))),
    [{}],
  ) as T[];
}

/** More lanes than this add up more partial sums than they read blocks. */
const mostLanes = 256;

/** Lanes worth trying for a row of so many blocks: not a few with a long row, and less than a third of them idle. */
export function laneCounts(form: 'int8' | 'float', blocks: number, traits: DeviceTraits): number[] {
  const counts: number[] = [];
  for (let lanes = Math.min(8, traits.subgroupSize); lanes <= mostLanes; lanes *= 2) {
    if (lanesFit(form, lanes, traits) && Math.ceil(blocks / lanes) * lanes <= 1.5 * blocks)
      counts.push(lanes);
  }
  return counts;
}

/** Without the base tile itself. */
export function laneCandidates(base: LaneTile, { banks }: ProductShape, traits: DeviceTraits): LaneFields[] {
  const units = Math.max(1, traits.computeUnits);
  const grid = traits.software
    ? // Compiling takes longer there than anything can win.
      { workgroup: [64], rows: [1, 2], depth: [1, 2], workgroups: [Infinity] }
    : {
        workgroup: [64, 128, 256],
        rows: [1, 2, 4],
        depth: [1, 2, 3, 4, 6, 8],
        workgroups: [Infinity, 8 * units],
      };
  return combinations<LaneFields>(grid).filter((fields) => {
    const tile = { ...base, ...fields };
    return !isSame(fields, base) && laneTileFits(tile, banks, traits);
  });
}

/** Without the base tile itself. */
export function matrixCandidates(
  base: MatrixTile,
  shape: ProductShape,
  traits: DeviceTraits,
): MatrixFields[] {
  return combinations<MatrixFields>({
    rows: [32, 64, 128, 256],
    tokens: [16, 32, 64, 128],
    depth: [32, 64],
    subgroupRows: [16, 32, 64],
    subgroupTokens: [16, 32, 64],
  }).filter((fields) => {
    const tile = { ...base, ...fields };
    const subgroups = (tile.rows / tile.subgroupRows) * (tile.tokens / tile.subgroupTokens);
    return !isSame(fields, base) && subgroups >= 2 && subgroups <= 16 && matrixTileFits(tile, shape, traits);
  });
}

function isSame(fields: object, base: object): boolean {
  return Object.entries(fields).every(([field, value]) => (base as Record<string, unknown>)[field] === value);
}
