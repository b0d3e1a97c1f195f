/**
 * How the forms of the product are cut over a device: what the shaders leave open as specialization constants. Defaults by
 * rules; a tuner may answer otherwise. Only what does not change a result's bits may depend on the number of rows of
 * activations: `lanes` does change them, so it follows from the columns and the device alone.
 */
import type { DType } from '@unicorn-exec/tensor';
import type { CooperativeMatrixShape, DeviceTraits } from '../dispatch.js';

/** A product as far as the cut depends on it. */
export interface ProductShape {
  readonly dtype: DType;
  /** Rows of the weight. */
  readonly rows: number;
  readonly columns: number;
  /** Rows of activations. */
  readonly tokens: number;
  /** 2 for a gated pair. */
  readonly banks: 1 | 2;
}

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
  /** int8: bytes of prepared activations up to which each workgroup prepares them itself. */
  readonly stagedBytes: number;
}

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

export interface MatmulTuner {
  /** The form for many rows, or undefined where `int8` or `float` shall serve: no such hardware, or too few rows. */
  f16(shape: ProductShape, traits: DeviceTraits): MatrixTile | undefined;
  float(shape: ProductShape, traits: DeviceTraits): LaneTile;
  int8(shape: ProductShape, traits: DeviceTraits): LaneTile;
}

/** Invocations of a workgroup: one subgroup for each part of the tile. */
export function matrixWorkgroup(
  { rows, tokens, subgroupRows, subgroupTokens }: Omit<MatrixTile, 'matrix' | 'depth'>,
  { subgroupSize }: DeviceTraits,
): number {
  return (rows / subgroupRows) * (tokens / subgroupTokens) * subgroupSize;
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
function stepBytes(
  banks: number,
  { rows, tokens, depth }: Pick<MatrixTile, 'rows' | 'tokens' | 'depth'>,
): number {
  return (banks * rows + tokens) * (2 * depth + 16);
}

export const defaultTuner: MatmulTuner = {
  f16({ tokens, banks, rows }, traits) {
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
  },
  float({ columns, tokens, dtype }, traits) {
    const unit = dtype === 'f32' ? 4 : dtype === 'f16' || dtype === 'bf16' ? 8 : 32;
    return {
      workgroup: workgroupOf(traits),
      lanes: lanesFor(Math.ceil(columns / unit), traits.subgroupSize),
      rows: 1,
      tokens: tokensPerTile(tokens, 4, traits),
      depth: 1,
      workgroups: Infinity,
      stagedBytes: 0,
    };
  },
  int8({ columns, tokens, banks }, traits) {
    const most = traits.software ? 4 : 8;
    return {
      workgroup: workgroupOf(traits),
      lanes: lanesFor(columns / 32, traits.subgroupSize),
      // 8 to 16 sums and as many words of quants stay in registers.
      rows: traits.software ? 1 : 2 / banks,
      tokens: tokensPerTile(tokens, most, traits),
      depth: traits.software ? 1 : 2,
      workgroups: traits.software || traits.computeUnits === 0 ? Infinity : 8 * traits.computeUnits,
      stagedBytes: Math.min(16_384, traits.sharedMemoryBytes / 2),
    };
  },
};
