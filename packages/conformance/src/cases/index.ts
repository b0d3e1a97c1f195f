/** The suite of every op, keyed by its name, and the chains of several. */
import { UnicornError, type DeviceInfo } from '@unicorn-exec/tensor';
import type { Case } from '../case.js';
import { activationSuite, gaussianTopKSuite, gluSuite, softcapSuite } from './activation.js';
import { altUpCorrectSuite, altUpInjectSuite, altUpPredictSuite } from './alt-up.js';
import { addSuite, meanSuite, multiplySuite, scaleSuite } from './arithmetic.js';
import { chainBenchmarks, chainCases } from './chain.js';
import { embedSuite } from './embed.js';
import { attentionSuite, kvWriteSuite } from './kv-cache.js';
import { concatSuite, reshapeSuite, sliceSuite, takeRowsSuite } from './layout.js';
import { logProbabilitiesSuite } from './log-probabilities.js';
import { matmulSuite } from './matmul.js';
import { matchRmsSuite, rmsNormSuite } from './norm.js';
import { putRowsSuite } from './put-rows.js';
import { causalConvSuite, copySlotsSuite, gatedDeltaSuite } from './recurrent.js';
import { ropeSuite } from './rope.js';
import { sampleSuite } from './sample.js';
import { accumulateSquaresSuite, segmentMeanSuite } from './segment.js';
import type { OpSuite } from './suite.js';

const suites: Readonly<Record<string, OpSuite>> = {
  embed: embedSuite,
  rmsNorm: rmsNormSuite,
  matchRms: matchRmsSuite,
  matmul: matmulSuite,
  rope: ropeSuite,
  kvWrite: kvWriteSuite,
  attention: attentionSuite,
  causalConv: causalConvSuite,
  gatedDelta: gatedDeltaSuite,
  copySlots: copySlotsSuite,
  activation: activationSuite,
  glu: gluSuite,
  softcap: softcapSuite,
  gaussianTopK: gaussianTopKSuite,
  add: addSuite,
  multiply: multiplySuite,
  scale: scaleSuite,
  mean: meanSuite,
  segmentMean: segmentMeanSuite,
  accumulateSquares: accumulateSquaresSuite,
  altUpPredict: altUpPredictSuite,
  altUpCorrect: altUpCorrectSuite,
  altUpInject: altUpInjectSuite,
  reshape: reshapeSuite,
  slice: sliceSuite,
  concat: concatSuite,
  takeRows: takeRowsSuite,
  putRows: putRowsSuite,
  sample: sampleSuite,
  logProbabilities: logProbabilitiesSuite,
};

/** Names of the ops that have cases: all of them, which a test of this package holds. */
export const coveredOps: readonly string[] = Object.keys(suites);

/** @throws UnicornError `internal/invariant` for an op without a suite */
export function opSuite(op: string): OpSuite {
  const suite = suites[op];
  if (!suite) throw new UnicornError('internal/invariant', `The op "${op}" has no error bound.`);
  return suite;
}

/** Every case for a device, op by op, then the chains. Names are unique. */
export function conformanceCases(info: DeviceInfo): Case[] {
  return [...Object.values(suites).flatMap((suite) => suite.cases(info)), ...chainCases(info)];
}

/** The same ops at the sizes of real models. */
export function benchmarkCases(info: DeviceInfo): Case[] {
  return [...Object.values(suites).flatMap((suite) => suite.benchmarks(info)), ...chainBenchmarks(info)];
}
