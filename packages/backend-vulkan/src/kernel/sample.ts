/** Kernels of `sample-scan.comp` and `sample-pick.comp`: the next token of each row. */
import { sampleStep, type SampleStep } from '@unicorn-exec/lowering';
import { optional, read, readWrite, u32, write, type Argument, type Place } from '../dispatch/dispatch.js';
import { sharedStep, type StepKernel } from './declaration.js';
import type { Faults, Operand } from './operand.js';

export interface SampleCall {
  /** f32 [rows, vocabulary]. */
  readonly logits: Operand;
  readonly parameters: Operand;
  readonly controls: Operand;
  readonly biasIds: Operand;
  readonly biasValues: Operand;
  /** i32 [history rows, capacity], written in place. */
  readonly history: Operand;
  readonly mask?: Operand;
  /** i32 [rows]. */
  readonly ids: Operand;
  /** f32 [rows, vocabulary]. */
  readonly probabilities?: Operand;
  readonly scratch: Place;
  readonly counters: Place;
  readonly faults: Faults;
}

/** Tokens that one workgroup of the scan takes: `stretchTokens` of `shaders/include/sample.glsl`. */
const stretchTokens = 2048;

/** Sizes that the shaders are written for. */
const scanInvocations = 256;
const pickInvocations = 512;

/** [scores of rows that draw, f32 [rows, vocabulary]; best of each stretch, (f32, i32) [rows, stretches]]. */
function scratchParts({ logits }: SampleCall): [scoreBytes: number, bestBytes: number] {
  const [rows, vocabulary] = logits.shape as [number, number];
  return [4 * rows * vocabulary, 8 * rows * Math.ceil(vocabulary / stretchTokens)];
}

const written = (place: Place | undefined): Argument => (place ? write(place) : { kind: 'null' });

export const sample = {
  ...sharedStep,
  call({ operands, ids, probabilities }, at) {
    const [logits, parameters, controls, biasIds, biasValues, history, mask] = operands.map((id) =>
      at.optional(id),
    );
    const all = at.optional(probabilities);
    return {
      logits: logits!,
      parameters: parameters!,
      controls: controls!,
      biasIds: biasIds!,
      biasValues: biasValues!,
      history: history!,
      ...(mask ? { mask } : {}),
      ids: at.operand(ids),
      ...(all ? { probabilities: all } : {}),
      scratch: at.scratch,
      counters: at.counters,
      faults: at.faults,
    };
  },
  scratchBytes(call) {
    const [scoreBytes, bestBytes] = scratchParts(call);
    return scoreBytes + bestBytes;
  },
  dispatch(call) {
    const { logits, parameters, controls, biasIds, biasValues, history, mask, ids, probabilities } = call;
    const { scratch, faults } = call;
    const [rows, vocabulary] = logits.shape as [number, number];
    // There is nothing to do without rows; the graph's shape rule forbids an empty vocabulary.
    if (rows === 0 || vocabulary === 0) return [];
    const [historyRows, capacity] = history.shape as [number, number];
    const stretches = Math.ceil(vocabulary / stretchTokens);
    const [scoreBytes, bestBytes] = scratchParts(call);
    // The rows' best come first: they are few, and stay where they are however large the scores are.
    const best: Place = { ...scratch, byteLength: bestBytes };
    const scores: Place = { ...scratch, byteOffset: scratch.byteOffset + bestBytes, byteLength: scoreBytes };
    const hasProbabilities = u32(Number(probabilities !== undefined));
    return [
      {
        pipeline: { shader: 'sample-scan', constants: [scanInvocations] },
        arguments: [
          read(logits.place),
          read(parameters.place),
          read(controls.place),
          read(biasIds.place),
          read(biasValues.place),
          read(history.place),
          optional(mask?.place),
          write(scores),
          write(best),
          written(probabilities?.place),
          read(faults),
          u32(vocabulary),
          u32(biasIds.shape[1]!),
          u32(historyRows),
          u32(capacity),
          u32(Number(mask !== undefined)),
          hasProbabilities,
        ],
        groups: [stretches, rows, 1],
        name: 'sample scan',
      },
      {
        pipeline: { shader: 'sample-pick', constants: [pickInvocations] },
        arguments: [
          read(parameters.place),
          read(controls.place),
          readWrite(history.place),
          read(scores),
          read(best),
          written(probabilities?.place),
          write(ids.place),
          u32(vocabulary),
          u32(stretches),
          u32(historyRows),
          u32(capacity),
          hasProbabilities,
        ],
        groups: [rows, 1, 1],
        name: 'sample pick',
      },
    ];
  },
  emit(node, emitter) {
    const step = sampleStep(node);
    emitter.push({ ...step, operands: step.operands.map((id) => emitter.optionalNumbers(id)) });
  },
} satisfies StepKernel<SampleStep, SampleCall>;
