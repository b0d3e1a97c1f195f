/**
 * How int8 products are cut over a device in a chain (`chain.ts`): what changes no bits, so the lanes are those of the product
 * by itself. Each workgroup asks whether it may go on and counts itself when it has ended, all of them at one place, so they
 * are few: as many as are resident at once, each taking several runs of rows.
 */
import type { DeviceTraits } from '../dispatch.js';
import { runnableTile, type LaneTile } from './lane-tile.js';
import type { ProductShape } from './matmul-tile.js';

export interface ChainedTile extends LaneTile {
  /** Vectors of 16 bytes of activations that a workgroup keeps in shared memory; 0: it reads them where they are. */
  readonly staged: number;
}

/** Invocations of a workgroup. */
const workgroup = 512;

/** Invocations of a compute unit that its registers hold. */
const residentInvocations = 1024;

/** Shared memory for activations: four workgroups of a compute unit have it beside each other on every device for chains. */
const stagedBytes = 32 * 2 ** 10;

/** Vectors of a row of activations: the twin of `rowVectors` in `shaders/matmul-int8.comp`. */
function rowVectors(columns: number): number {
  const blocks = columns / 32;
  return 2 * blocks + Math.ceil(blocks / 2);
}

/** @param own of the product outside of chains */
export function chainedTile(own: LaneTile, shape: ProductShape, traits: DeviceTraits): ChainedTile {
  const { banks, columns, tokens } = shape;
  const size = Math.max(own.lanes, own.workgroup, Math.min(workgroup, traits.maxInvocations));
  const workgroups = Math.max(1, Math.floor((residentInvocations * traits.computeUnits) / size));
  const rows = tokens > 1 ? own.rows : 2;
  const depth = tokens > 1 ? own.depth : banks === 2 ? 1 : 2;
  const tile = runnableTile({ ...own, workgroup: size, rows, depth, workgroups }, banks);
  const staged = tile.tokens * rowVectors(columns);
  return { ...tile, staged: 16 * staged <= stagedBytes ? staged : 0 };
}
