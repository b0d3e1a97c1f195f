/**
 * How int8 products are cut over a device in a chain (`chain.ts`): what changes no bits, so the lanes are those of the product
 * by itself. Each workgroup asks whether it may go on and counts itself when it has ended, all of them at one place, so they
 * are few: as many as are resident at once, each taking several runs of rows.
 */
import type { DeviceTraits } from '../dispatch.js';
import { runnableTile, type LaneTile } from './lane-tile.js';
import type { ProductShape } from './matmul-tile.js';

/** Invocations of a workgroup. */
const workgroup = 512;

/** Invocations of a compute unit that its registers hold. */
const residentInvocations = 1024;

/** A product whose workgroups take more runs each lasts so long that they may as well come one after the other. */
const mostRuns = 32;

/** @param own of the product outside of chains */
export function chainedTile(own: LaneTile, { banks, rows, tokens }: ProductShape, traits: DeviceTraits): LaneTile {
  const size = Math.max(own.lanes, own.workgroup, Math.min(workgroup, traits.maxInvocations));
  const workgroups = Math.max(1, Math.floor((residentInvocations * traits.computeUnits) / size));
  const cut = tokens > 1 ? {} : { rows: 2, depth: banks === 2 ? 1 : 2 };
  const tile = runnableTile({ ...own, ...cut, workgroup: size, workgroups }, banks);
  const runs = Math.ceil(rows / ((size / tile.lanes) * tile.rows));
  return runs > mostRuns * workgroups ? own : tile;
}
