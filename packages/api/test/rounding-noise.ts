/**
 * The error of a block format as noise, from what the format is: of any encoder that rounds to the nearest step, and of
 * none in particular. No encoder and no decoder is asked.
 */
import { dtypeLayout, type DType } from '@unicorn-exec/tensor';

interface Grid {
  /** Elements with one step in common. */
  readonly groupSize: number;
  /** Distance of neighbouring values in each group of a block. */
  steps(groups: readonly Float32Array[]): number[];
  /** The near end of a signed range, in steps: what lies beyond is cut off. */
  readonly last?: number;
}

/**
 * Signed ranges have one value more at one end, where the element of largest magnitude lies: the step's sign is the one
 * that puts it there. In K formats the step of a group is a whole multiple of its super-block's unit, of which the
 * largest step takes as many as there are: no step is more than one unit above what its group needs.
 */
const grids: Partial<Record<DType, Grid>> = {
  q8_0: { groupSize: 32, steps: (groups) => groups.map((x) => extreme(x) / 127) },
  q4_0: { groupSize: 32, steps: (groups) => groups.map((x) => extreme(x) / -8), last: 7 },
  q6_k: {
    groupSize: 16,
    steps(groups) {
      const steps = groups.map((x) => extreme(x) / -32);
      return inUnits(steps, 127);
    },
    last: 31,
  },
  q4_k: {
    groupSize: 32,
    // Fifteen steps from an offset of zero or less up to the largest value. Offsets are multiples of a unit, too.
    steps(groups) {
      const depths = groups.map((x) => Math.max(0, -Math.min(...x)));
      const offsets = inUnits(depths, 63);
      const steps = groups.map((x, group) => Math.max(0, Math.max(...x) + offsets[group]!) / 15);
      return inUnits(steps, 63);
    },
  },
};

/** Values as a format can hold them, before they are rounded. */
export interface Unrounded {
  /** Those beyond its range at the end of it. */
  readonly values: Float32Array;
  /** One for each `groupSize` values. */
  readonly steps: Float32Array;
  readonly groupSize: number;
}

/** @param values whole blocks of `dtype` */
export function unrounded(dtype: DType, values: Float32Array): Unrounded {
  const grid = grids[dtype];
  if (!grid) throw new Error(`Nobody has told what ${dtype} rounds to.`);
  const { groupSize, last = Infinity } = grid;
  const { blockSize } = dtypeLayout(dtype);
  const kept = values.slice();
  const steps = new Float32Array(values.length / groupSize);
  for (let block = 0; block < values.length; block += blockSize) {
    const groups: Float32Array[] = [];
    for (let at = block; at < block + blockSize; at += groupSize)
      groups.push(kept.subarray(at, at + groupSize));
    const ofBlock = grid.steps(groups);
    steps.set(ofBlock, block / groupSize);
    groups.forEach((x, group) => {
      const step = ofBlock[group]!;
      x.forEach((value, i) => (x[i] = value / step > last ? last * step : value));
    });
  }
  return { values: kept, steps, groupSize };
}

/**
 * Each value moved by up to half a step of its group, evenly distributed.
 *
 * @param uniform gives numbers of [0, 1)
 * @param scale of the steps: 2 is a format that has one bit less
 */
export function withRoundingNoise(
  { values, steps, groupSize }: Unrounded,
  uniform: () => number,
  scale: number,
): Float32Array {
  const noisy = new Float32Array(values.length);
  for (let i = 0; i < values.length; i++) {
    noisy[i] = values[i]! + scale * steps[Math.trunc(i / groupSize)]! * (uniform() - 0.5);
  }
  return noisy;
}

/** Repeatable numbers of [0, 1): the linear congruential generator of Numerical Recipes. */
export function uniformNumbers(seed: number): () => number {
  let state = seed;
  return () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32;
}

/** The first element of largest magnitude, sign and all. */
function extreme(x: Float32Array): number {
  return x.reduce((most, value) => (Math.abs(value) > Math.abs(most) ? value : most), 0);
}

/** What values become at most as whole multiples of a unit of which the largest is `count`. */
function inUnits(values: readonly number[], count: number): number[] {
  const unit = Math.max(...values.map(Math.abs)) / count;
  return values.map((value) => value + Math.sign(value) * unit);
}
