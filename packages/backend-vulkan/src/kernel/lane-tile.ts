/**
 * How products by lanes are cut over a device. A field that changes a result's bits must not depend on the number of rows of
 * activations: `lanes` is one, so it follows from the weights and the device alone.
 */
import type { DeviceTraits } from '../dispatch/dispatch.js';
import type { ProductShape } from './product-shape.js';

/** Tile of `matmul-float` and `matmul-int8`: neighbours share a row of the weight. */
export interface LaneTile {
  /** Invocations of a workgroup: a multiple of the subgroup. */
  readonly workgroup: number;
  /** Within a subgroup, a power of two; `matmul-int8` takes whole subgroups too, up to the workgroup. */
  readonly lanes: number;
  /** Rows of the weight, of each bank, and of activations for an invocation. */
  readonly rows: number;
  readonly tokens: number;
  /** Blocks that a lane loads before it uses the first. */
  readonly depth: number;
  /** Workgroups at most, each taking several runs of rows; Infinity for one run each. */
  readonly workgroups: number;
}

/** The largest power of two up to `limit` lanes that leaves less than a fifth of them idle, over the units of a row. */
function lanesFor(units: number, limit: number): number {
  let lanes = 1;
  for (let more = 2; more <= limit; more *= 2) {
    if (Math.ceil(units / more) * more <= 1.2 * units) lanes = more;
  }
  return lanes;
}

/** The most lanes of a row of any length: more would add up more partial sums than they read blocks. */
const mostLanes = 128;

/** Resident invocations of a compute unit that hide the latency of memory, each with some 16-byte loads under way. */
const invocationsToFill = 512;

/**
 * As many lanes as have three blocks each or more, of which less than a fifth is idle. For a gated pair two and a quarter
 * blocks are enough.
 */
function blockLanes(blocks: number, banks: number, limit: number): number {
  const [least, idle] = banks === 2 ? [2.25, 4 / 3] : [3, 1.2];
  let lanes = 1;
  for (let more = 2; more <= limit && least * more <= blocks; more *= 2) {
    if (Math.ceil(blocks / more) * more <= idle * blocks) lanes = more;
  }
  return lanes;
}

function largestPower(limit: number): number {
  return 2 ** Math.floor(Math.log2(Math.max(1, limit)));
}

/** Rows of activations for an invocation such that tiles are of nearly equal size: 9 are 5 and 4, not 8 and 1. */
function tokensPerTile(tokens: number, most: number, traits: DeviceTraits): number {
  const even = Math.ceil(tokens / Math.ceil(tokens / most));
  // Powers of two, where compiling costs more than idle rows do, since they need fewer pipelines.
  return traits.software ? 2 ** Math.ceil(Math.log2(even)) : even;
}

/** A lane waits for nothing but memory, so workgroups are small: the tail of a grid is short. */
function workgroupOf(traits: DeviceTraits): number {
  const wanted = traits.software ? 4 * traits.subgroupSize : 128;
  const most = largestPower(traits.maxInvocations);
  return Math.max(traits.subgroupSize, Math.min(wanted, most));
}

export function floatTile({ columns, tokens, dtype }: ProductShape, traits: DeviceTraits): LaneTile {
  const unit = dtype === 'f32' ? 4 : dtype === 'f16' || dtype === 'bf16' ? 8 : 32;
  return {
    workgroup: workgroupOf(traits),
    lanes: lanesFor(Math.ceil(columns / unit), traits.subgroupSize),
    rows: 1,
    tokens: tokensPerTile(tokens, 4, traits),
    depth: 1,
    workgroups: Infinity,
  };
}

/** The nearest tile that `matmul-int8` can run, whose loops over the tile of an invocation are written out. */
export function runnableTile(tile: LaneTile, banks: number): LaneTile {
  const rows = Math.min(tile.rows, 4 / banks);
  const tokens = Math.min(tile.tokens, 8);
  const depth = Math.min(tile.depth, tokens > 2 ? 1 : tokens > 1 || rows * banks > 2 ? 2 : 6);
  return { ...tile, rows, tokens, depth };
}

export function int8Tile({ columns, tokens, banks, rows }: ProductShape, traits: DeviceTraits): LaneTile {
  const { software, subgroupSize, computeUnits, maxInvocations } = traits;
  const blocks = columns / 32;
  const limit = software ? subgroupSize : largestPower(Math.min(mostLanes, maxInvocations));
  const lanes = blockLanes(blocks, banks, limit);
  const workgroup = software ? 4 * subgroupSize : Math.max(subgroupSize, 64, lanes);
  const even = tokensPerTile(tokens, software ? 4 : 8, traits);
  // Rows of activations are read from the cache for each run of weight rows: four share them where there are many. Of one,
  // two rows are enough, or one where the device would be half empty.
  const isFilled = (rows / 2) * lanes >= invocationsToFill * Math.max(1, computeUnits);
  const lines = software ? banks : even >= 4 ? 4 : isFilled ? 2 : 1;
  const tileRows = Math.max(1, lines / banks);
  const most = software ? 1 : even === 1 ? Math.min(6, 8 / (tileRows * banks)) : 2;
  const perLane = Math.ceil(blocks / lanes);
  const tile = {
    workgroup: Math.max(subgroupSize, Math.min(workgroup, largestPower(maxInvocations))),
    lanes,
    rows: tileRows,
    tokens: even,
    depth: Math.ceil(perLane / Math.ceil(perLane / most)),
    workgroups: Infinity,
  };
  return runnableTile(tile, banks);
}
