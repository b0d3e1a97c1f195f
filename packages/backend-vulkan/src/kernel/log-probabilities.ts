/** Kernels of `log-probabilities-scan.comp` and `log-probabilities-pick.comp`: log-probabilities of tokens. */
import { read, u32, write, type Argument, type Dispatch, type Place } from '../dispatch/dispatch.js';
import { opKernel } from './declaration.js';
import type { Faults, Operand } from './operand.js';

export interface LogProbabilitiesCall {
  /** f32 [rows, vocabulary]. */
  readonly logits: Operand;
  /** i32 [rows]. */
  readonly ids: Operand;
  /** f32 [rows]. */
  readonly chosen: Operand;
  /** The best tokens: i32 [rows, top] and f32 [rows, top]. */
  readonly best?: { readonly ids: Operand; readonly values: Operand };
  readonly scratch: Place;
  readonly faults: Faults;
}

/** Tokens that one workgroup of the scan takes: `stretchTokens` of `shaders/include/log-probabilities.glsl`. */
const stretchTokens = 2048;

/** Stretches of a row whose best tokens can be merged: `taken` of `log-probabilities-pick.comp`. */
const mostStretches = 2048;

/** Size that both shaders are written for. */
const invocations = 256;

const topOf = ({ best }: LogProbabilitiesCall): number => best?.ids.shape[1] ?? 0;

function sizesOf(call: LogProbabilitiesCall) {
  const [rows, vocabulary] = call.logits.shape as [number, number];
  const stretches = Math.ceil(vocabulary / stretchTokens);
  const candidates = Math.min(topOf(call), stretchTokens);
  const sumBytes = 8 * rows * stretches;
  return { rows, vocabulary, stretches, candidates, sumBytes, bestBytes: 4 * rows * stretches * candidates };
}

const written = (operand: Operand | undefined): Argument =>
  operand ? write(operand.place) : { kind: 'null' };

export const logProbabilities = opKernel<LogProbabilitiesCall>({
  refuses({ inputs }, graph) {
    const vocabulary = graph.values[inputs.logits!]!.shape[1];
    return typeof vocabulary === 'number' && vocabulary <= mostStretches * stretchTokens
      ? undefined
      : `logProbabilities over a vocabulary of ${vocabulary}; at most ${mostStretches * stretchTokens} are supported`;
  },
  call(op) {
    const [ids, values] = op.others;
    return {
      logits: op.input('logits'),
      ids: op.input('ids'),
      chosen: op.out,
      ...(ids && values ? { best: { ids, values } } : {}),
      scratch: op.at.scratch,
      faults: op.at.faults,
    };
  },
  scratchBytes(call) {
    const { sumBytes, bestBytes } = sizesOf(call);
    return sumBytes + bestBytes;
  },
  dispatch(call) {
    const { logits, ids, chosen, best, scratch, faults } = call;
    const { rows, vocabulary, stretches, candidates, sumBytes, bestBytes } = sizesOf(call);
    if (rows === 0) return [];
    const sums: Place = { ...scratch, byteLength: sumBytes };
    const found: Place = { ...scratch, byteOffset: scratch.byteOffset + sumBytes, byteLength: bestBytes };
    const scan: Dispatch = {
      pipeline: { shader: 'log-probabilities-scan', constants: [invocations] },
      arguments: [read(logits.place), write(sums), write(found), u32(vocabulary), u32(candidates)],
      groups: [stretches, rows, 1],
      name: 'logProbabilities scan',
    };
    return [
      ...(stretches > 0 ? [scan] : []),
      {
        pipeline: { shader: 'log-probabilities-pick', constants: [invocations] },
        arguments: [
          read(logits.place),
          read(ids.place),
          read(sums),
          read(found),
          write(chosen.place),
          written(best?.ids),
          written(best?.values),
          read(faults),
          ...[vocabulary, stretches, candidates, topOf(call)].map(u32),
        ],
        groups: [rows, 1, 1],
        name: 'logProbabilities pick',
      },
    ];
  },
});
