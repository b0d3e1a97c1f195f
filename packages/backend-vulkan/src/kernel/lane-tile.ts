/**
 * How products by lanes are cut over a device. Only what does not change a result's bits may depend on the number of rows of
 * activations: `lanes` does change them, so it follows from the columns and the device alone.
 */
import type { DeviceTraits } from '../dispatch.js';
import type { ProductShape } from './matmul-tile.js';

/** Of `matmul-float` and `matmul-int8`: neighbours in a subgroup that share a row of the weight. */
export interface LaneTile {
  /** Invocations of a workgroup: a multiple of the subgroup. */
  readonly workgroup: number;
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

function largestPower(limit: number): number {
  return 2 ** Math.floor(Math.log2(Math.max(1, limit)));
}

/** Rows of activations for an invocation such that tiles are of nearly equal size: 9 are 5 and 4, not 8 and 1. */
function tokensPerTile(tokens: number, most: number, traits: DeviceTraits): number {
  const even = Math.ceil(tokens / Math.ceil(tokens / most));
  // Where compiling costs more than idle rows do, powers of two: fewer pipelines.
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

export function int8Tile({ columns, tokens, banks }: ProductShape, traits: DeviceTraits): LaneTile {
  const most = traits.software ? 4 : 8;
  return {
    workgroup: workgroupOf(traits),
    lanes: lanesFor(columns / 32, traits.subgroupSize),
    // 8 to 16 sums and as many words of quants stay in registers.
    rows: traits.software ? 1 : 2 / banks,
    tokens: tokensPerTile(tokens, most, traits),
    depth: traits.software ? 1 : 2,
    workgroups: traits.software || traits.computeUnits === 0 ? Infinity : 8 * traits.computeUnits,
  };
}
