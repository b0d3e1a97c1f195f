/**
 * How int8 products are cut over a device in a chain (`chain.ts`): what changes no bits, so the lanes are those of the product
 * by itself. Each workgroup asks whether it may go on and counts itself when it has ended, all of them at one place, so they
 * are few: as many as are resident at once, each taking several runs of rows. While they wait they read weights ahead.
 */
import { dtypeLayout } from '@unicorn-exec/tensor';
import type { DeviceTraits } from '../dispatch.js';
import { runnableTile, type LaneTile } from './lane-tile.js';
import type { ProductShape } from './matmul-tile.js';

export interface ChainedTile extends LaneTile {
  /** Blocks of a lane that are read for the cache's sake before the workgroup waits, after the first `depth`. */
  readonly fetches: number;
}

/** Invocations of a workgroup. */
const workgroup = 256;

/** Invocations of a compute unit that its registers hold. */
const residentInvocations = 1024;

/** `MOST_FETCHES` of `shaders/matmul-int8.comp`. */
const mostFetches = 4;

/** What is read while a workgroup waits: some microseconds of the memory's bandwidth, half of a last-level cache of 50 MB. */
const aheadBytes = 24 * 2 ** 20;

/** @param own of the product outside of chains */
export function chainedTile(own: LaneTile, shape: ProductShape, traits: DeviceTraits): ChainedTile {
  const { banks, columns, dtype, tokens } = shape;
  const size = Math.max(own.lanes, own.workgroup, Math.min(workgroup, traits.maxInvocations));
  const workgroups = Math.max(1, Math.floor((residentInvocations * traits.computeUnits) / size));
  const rows = tokens > 1 ? own.rows : 2;
  const depth = tokens > 1 ? own.depth : banks === 2 ? 1 : 2;
  const tile = runnableTile({ ...own, workgroup: size, rows, depth, workgroups }, banks);
  return { ...tile, fetches: fetchesOf(tile, shape) };

  function fetchesOf({ lanes, rows: lines }: LaneTile, { rows: all }: ProductShape): number {
    const { blockBytes, blockSize } = dtypeLayout(dtype);
    const runs = Math.ceil(all / ((size / lanes) * lines));
    const bytes = Math.min(runs, workgroups) * size * lines * banks * ((32 * blockBytes) / blockSize);
    const left = Math.ceil(runs / workgroups) * Math.ceil(columns / 32 / lanes) - tile.depth;
    return Math.max(0, Math.min(mostFetches, left, Math.floor(aheadBytes / bytes) - tile.depth));
  }
}
