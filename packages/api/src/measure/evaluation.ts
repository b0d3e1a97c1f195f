/** Token ids in, logits and hidden states out: for checking a backend or a model against a reference. */
import { resolveSize, type ElasticSpec } from '@unicorn-exec/models';
import { writeSafetensors, type SafetensorsTensor } from '@unicorn-exec/checkpoint';
import type { Engine } from '../engine.js';
import { expectFinite } from './finite-logits.js';
import {
  abortSignal,
  checkArgument,
  checkOptions,
  engineRule,
  flag,
  listOf,
  record,
  required,
  size,
  text,
  tokenIds,
  type OptionTable,
} from '../option.js';

export interface WriteEvaluationOptions extends EvaluationOptions {
  /** The file to write. */
  readonly output: string;
}

export interface EvaluationOptions {
  /** Also `hidden.<L>`: 0 is the embedding, L >= 1 the output of decoder layer L - 1. Default false. */
  readonly layers?: boolean | undefined;
  readonly elastic?: ElasticSpec | undefined;
  readonly signal?: AbortSignal | undefined;
}

const evaluationOptionTable: OptionTable<EvaluationOptions> = {
  layers: flag,
  elastic: size,
  signal: abortSignal,
};

const writeOptionTable: OptionTable<WriteEvaluationOptions> = {
  ...evaluationOptionTable,
  output: required(text),
};

/** f32 tensors by name: `logits` [tokens, vocabulary] and `hidden.<L>` [tokens, features]. */
export type Evaluation = ReadonlyMap<
  string,
  { readonly shape: readonly [number, number]; readonly data: Float32Array }
>;

/**
 * Runs the sequences as one ragged batch; one result for each.
 *
 * @throws UnicornError `usage/option`, and as `Engine.forward`
 */
export async function evaluate(
  engine: Engine,
  sequences: readonly (readonly number[])[],
  options: EvaluationOptions = {},
): Promise<Evaluation[]> {
  checkArgument('evaluate', 'engine', engine, required(engineRule));
  checkArgument('evaluate', 'sequences', sequences, required(listOf(tokenIds)));
  checkOptions('evaluate', options, evaluationOptionTable);
  const results = await engine.forward(sequences, {
    logits: 'all',
    hidden: options.layers,
    size: options.elastic === undefined ? undefined : resolveSize(engine.model, options.elastic),
    signal: options.signal,
  });
  return results.map(({ logits, hidden }, index) => {
    const tokens = sequences[index]!.length;
    const named = { ...(logits ? { logits } : {}), ...hidden };
    return new Map(
      Object.entries(named).map(([name, data]) => [
        name,
        { shape: [tokens, data.length / tokens] as const, data },
      ]),
    );
  });
}

/**
 * Evaluates and writes one safetensors file. With several sequences the names end in the sequence: `logits.0`,
 * `hidden.3.1`.
 *
 * @returns the names and shapes written
 * @throws UnicornError as {@link evaluate}; `usage/file` when the file cannot be written; `device/result`, once it is
 * written, where a value is not a finite number
 */
export async function writeEvaluation(
  engine: Engine,
  sequences: readonly (readonly number[])[],
  options: WriteEvaluationOptions,
): Promise<{ name: string; shape: readonly number[] }[]> {
  checkArgument('writeEvaluation', 'options', options, required(record));
  checkOptions('writeEvaluation', options, writeOptionTable);
  const { output, ...rest } = options;
  const results = await evaluate(engine, sequences, rest);
  const tensors = results.flatMap((result, sequence) =>
    [...result].map(([name, { shape, data }]): SafetensorsTensor => ({
      name: sequences.length === 1 ? name : `${name}.${sequence}`,
      dtype: 'f32',
      shape,
      data: new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
    })),
  );
  await writeSafetensors(output, tensors);
  // The file is what a search for the cause begins with.
  for (const result of results) {
    for (const [what, { shape, data }] of result) {
      const [tokens, width] = shape;
      for (let position = 0; position < tokens; position++) {
        expectFinite(data.subarray(position * width, (position + 1) * width), { engine, position, what });
      }
    }
  }
  return tensors.map(({ name, shape }) => ({ name, shape }));
}
