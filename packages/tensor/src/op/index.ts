/** The registry of ops. A backend's lowering table and the conformance cases are keyed by these names. */
import { UnicornError } from '../error.js';
import { accumulateSquares } from './accumulate-squares.js';
import { activation, gaussianTopK, glu, softcap } from './activation.js';
import { altUpCorrect, altUpInject, altUpPredict } from './alt-up.js';
import { add, mean, multiply, scale } from './arithmetic.js';
import { embed } from './embed.js';
import { attention, kvWrite } from './kv-cache.js';
import { concat, putRows, reshape, slice, takeRows } from './layout.js';
import { logProbabilities } from './log-probabilities.js';
import { matmul } from './matmul.js';
import { matchRms, rmsNorm } from './norm.js';
import type { Op } from './op.js';
import { causalConv, copySlots, gatedDelta } from './recurrent.js';
import { rope } from './rope.js';
import { sample } from './sample.js';
import { segmentMean } from './segment.js';

/** Every op, in the order of the documentation. */
export const ops: readonly Op[] = [
  embed,
  rmsNorm,
  matchRms,
  matmul,
  rope,
  kvWrite,
  attention,
  causalConv,
  gatedDelta,
  copySlots,
  activation,
  glu,
  softcap,
  gaussianTopK,
  add,
  multiply,
  scale,
  mean,
  segmentMean,
  accumulateSquares,
  altUpPredict,
  altUpCorrect,
  altUpInject,
  reshape,
  slice,
  concat,
  takeRows,
  putRows,
  sample,
  logProbabilities,
];

const byName = new Map(ops.map((op) => [op.name, op]));

/** @throws UnicornError `unsupported/op` for a name that is not declared. */
export function findOp(name: string): Op {
  const op = byName.get(name);
  if (!op)
    throw new UnicornError('unsupported/op', `There is no op named "${name}".`, {
      fields: { op: name },
      fix: 'Use a method of GraphBuilder, one for each op.',
    });
  return op;
}
