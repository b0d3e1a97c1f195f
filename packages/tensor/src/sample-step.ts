/**
 * Sampling at the end of a step's graph, or in a graph of its own, and the names by which a scheduler binds its operands. A
 * graph of its own takes the logits of a step that was submitted before, so that a token mask which depends on the last
 * token can be made while the device computes the logits.
 */
import { GraphBuilder } from './graph/builder.js';
import type { Graph, Value } from './graph/graph.js';
import { sampleControls, sampleParameters } from './op/sample.js';

/** Inputs, states and outputs of sampling. Rows are those of the logits, along the dim `outputs`. */
export const sampleNames = {
  /** Input f32 [outputs, vocabulary] of a graph that samples by itself: the output `logits` of a step. */
  logits: 'logits',
  /** Input f32 [outputs, {@link sampleParameters}] */
  parameters: 'sample.parameters',
  /** Input i32 [outputs, {@link sampleControls}] */
  controls: 'sample.controls',
  /** Input i32 [outputs, biases] */
  biasIds: 'sample.biasIds',
  /** Input f32 [outputs, biases] */
  biasValues: 'sample.biasValues',
  /** Input i32 [outputs, ceil(vocabulary / 32)], where requests are masked. */
  mask: 'sample.mask',
  /** State i32 [rows, capacity]: the known tokens of each running sequence. */
  history: 'history',
  /** Output i32 [outputs]: the token of each row. */
  sampled: 'sampled',
  /** Output f32 [outputs]: the log-probability of that token under the raw logits. */
  chosenLogProbability: 'sample.chosenLogProbability',
  /** Output i32 [outputs, top]: the best tokens under the raw logits, best first. */
  topIds: 'sample.topIds',
  /** Output f32 [outputs, top]: their log-probabilities. */
  topLogProbabilities: 'sample.topLogProbabilities',
} as const;

export interface SampleStepOptions {
  /** Shape of the history: sequences that run at once, and tokens of the longest. */
  readonly history: readonly [rows: number, capacity: number];
  /** Whether there is an input `sample.mask`. False by default. */
  readonly masked?: boolean;
  /**
   * Outputs the log-probability of each sampled token, and ids and log-probabilities of so many best ones: 0 for those of
   * the sampled token alone. Absent: nothing is computed.
   */
  readonly topLogProbabilities?: number;
}

/**
 * Adds sampling of each row of logits to a graph, with its inputs, its state and its outputs.
 *
 * @param logits f32 [outputs, vocabulary], the vocabulary a number
 * @returns the sampled ids, i32 [outputs]
 * @throws UnicornError `usage/shape` for more best tokens than the vocabulary has
 */
export function addSampling(builder: GraphBuilder, logits: Value, options: SampleStepOptions): Value {
  const [rows, vocabulary] = logits.shape as [string, number];
  return builder.scoped('sample', () => {
    const { ids } = builder.sample({
      logits,
      parameters: builder.input(sampleNames.parameters, 'f32', [rows, sampleParameters.length]),
      controls: builder.input(sampleNames.controls, 'i32', [rows, sampleControls.length]),
      biasIds: builder.input(sampleNames.biasIds, 'i32', [rows, 'biases']),
      biasValues: builder.input(sampleNames.biasValues, 'f32', [rows, 'biases']),
      history: builder.state(sampleNames.history, 'i32', options.history),
      ...(options.masked
        ? { mask: builder.input(sampleNames.mask, 'i32', [rows, Math.ceil(vocabulary / 32)]) }
        : {}),
    });
    builder.output(sampleNames.sampled, ids);
    if (options.topLogProbabilities !== undefined) {
      const { chosen, top } = builder.logProbabilities(logits, ids, options.topLogProbabilities);
      builder.output(sampleNames.chosenLogProbability, chosen);
      if (top) {
        builder.output(sampleNames.topIds, top.ids);
        builder.output(sampleNames.topLogProbabilities, top.logProbabilities);
      }
    }
    return ids;
  });
}

/** A graph that only samples. Its input `logits` is bound to the buffer that a step's output of that name has filled. */
export function sampleGraph(name: string, vocabularySize: number, options: SampleStepOptions): Graph {
  const builder = new GraphBuilder(name);
  addSampling(builder, builder.input(sampleNames.logits, 'f32', ['outputs', vocabularySize]), options);
  return builder.build();
}
