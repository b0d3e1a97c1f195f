/**
 * How int8 products with one row of activations are cut over a device in a chain (`chain.ts`). The cut changes no bits, so
 * the lanes are those of the product outside of chains. Each workgroup waits and counts itself at one place in memory, so
 * there are few: as many as are resident at once, each taking several runs of rows.
 *
 * Measured on an H200 with models of 1B, 7B and 27B: lanes are best when they load whole rows, or halves, before they use
 * the first block, and take two rows where rows are long and many.
 */
import type { DeviceTraits } from '../dispatch/dispatch.js';
import { runnableTile, type LaneTile } from './lane-tile.js';
import type { ProductShape } from './product-shape.js';

/** Invocations of a compute unit that its registers hold. */
const residentInvocations = 1024;

/** @param own of the product outside of chains */
export function chainedTile(own: LaneTile, shape: ProductShape, traits: DeviceTraits): LaneTile {
  const { computeUnits, maxInvocations } = traits;
  const cut = cutOf(own, shape, traits);
  const workgroup = Math.max(own.lanes, own.workgroup, Math.min(cut.workgroup, maxInvocations));
  const resident = Math.floor((residentInvocations * computeUnits) / workgroup);
  // The device does not tell how many compute units it has.
  const workgroups = resident === 0 ? Infinity : resident;
  return runnableTile({ ...own, ...cut, workgroup, workgroups }, shape.banks);
}

function cutOf(
  { lanes }: LaneTile,
  { banks, columns, rows }: ProductShape,
  { computeUnits, subgroupSize }: DeviceTraits,
): Pick<LaneTile, 'workgroup' | 'rows' | 'depth'> {
  const perLane = Math.ceil(columns / 32 / lanes);
  const evenDepth = (most: number): number => Math.ceil(perLane / Math.ceil(perLane / most));
  // Subgroups that share rows wait for each other after each run: smaller workgroups wait for fewer.
  if (lanes > subgroupSize) return { workgroup: 256, rows: 1, depth: evenDepth(banks === 2 ? 4 : 6) };
  const workgroup = 512;
  if (banks === 2) return { workgroup, rows: 1, depth: evenDepth(3) };
  const isFilled = rows * lanes >= 2 * workgroup * computeUnits;
  return isFilled ? { workgroup, rows: 2, depth: evenDepth(3) } : { workgroup, rows: 1, depth: evenDepth(6) };
}
