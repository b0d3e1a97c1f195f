/** All kernels by name: that of their op, where they compute one of the graph. Adding an op is adding its declaration here. */
import type { HeadsStep, Step } from '../lowering/plan.js';
import { accumulateSquares } from './accumulate-squares.js';
import { attention, type AttentionKernel } from './attention.js';
import { add, multiply } from './broadcast.js';
import type { StepKernel } from './declaration.js';
import { activation, altUpInject, glu, scale, softcap } from './elementwise.js';
import { embed } from './embed.js';
import { heads, type HeadsCall } from './heads.js';
import { kvWrite } from './kv-write.js';
import { logProbabilities } from './log-probabilities.js';
import { matmul, matmulKernel, type MatmulKernel } from './matmul.js';
import type { MatmulTiler } from './tiler.js';
import { concat, copy, slice, takeRows } from './move.js';
import { gaussianTopK, matchRms, rmsNorm } from './norm.js';
import { putRows } from './put-rows.js';
import { causalConv, copySlots, gatedDelta } from './recurrent.js';
import { rope, ropeTable } from './rope.js';
import { sample } from './sample.js';
import { segmentMean } from './segment.js';
import { altUpCorrect, altUpPredict, mean } from './stream.js';

/** Kernels by the name that their steps give ({@link kernelOf}). Tests may replace some. */
export interface KernelTable {
  readonly matmul: MatmulKernel;
  readonly attention: AttentionKernel;
  readonly heads: StepKernel<HeadsStep, HeadsCall>;
  readonly [name: string]: StepKernel<Step, unknown>;
}

export const kernelTable: KernelTable = {
  matmul,
  embed,
  rmsNorm,
  matchRms,
  ropeTable,
  rope,
  kvWrite,
  heads,
  attention,
  activation,
  glu,
  softcap,
  gaussianTopK,
  add,
  multiply,
  scale,
  mean,
  altUpPredict,
  altUpCorrect,
  altUpInject,
  slice,
  concat,
  takeRows,
  putRows,
  copy,
  sample,
  logProbabilities,
  segmentMean,
  accumulateSquares,
  causalConv,
  gatedDelta,
  copySlots,
};

/** The same with another choice of tiles for products. */
export function tiledKernels(tiler: MatmulTiler): KernelTable {
  return { ...kernelTable, matmul: matmulKernel(tiler) };
}

export function kernelOf(step: Step, table: KernelTable): StepKernel<Step, unknown> {
  return table[step.kind === 'op' ? step.kernel : step.kind]!;
}
