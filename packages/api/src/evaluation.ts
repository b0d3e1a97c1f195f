/** Token ids in, logits and hidden states out: for checking a backend or a model against a reference. */
import { resolveSize, type ElasticSpec } from '@unicorn-exec/models';
import { writeSafetensors, type SafetensorsTensor } from '@unicorn-exec/quant';
import type { Engine } from './engine.js';

export interface EvaluationOptions {
  /** Also `hidden.<L>`: 0 is the embedding, L >= 1 the output of decoder layer L - 1. Default false. */
  readonly layers?: boolean | undefined;
  readonly elastic?: ElasticSpec | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** f32 tensors by name: `logits` [tokens, vocabulary] and `hidden.<L>` [tokens, features]. */
export type Evaluation = ReadonlyMap<string, { readonly shape: readonly [number, number]; readonly data: Float32Array }>;

/** Runs the sequences as one ragged batch; one result for each. */
export async function evaluate(
  engine: Engine,
  sequences: readonly (readonly number[])[],
  options: EvaluationOptions = {},
): Promise<Evaluation[]> {
  const results = sequences.map(() => new Map<string, { shape: [number, number]; data: Float32Array }>());
  const store = (name: string, sequence: number, row: number, values: Float32Array): void => {
    const tokens = sequences[sequence]!.length;
    const held = results[sequence]!.get(name) ?? {
      shape: [tokens, values.length],
      data: new Float32Array(tokens * values.length),
    };
    results[sequence]!.set(name, held);
    held.data.set(values, row * values.length);
  };
  await engine.forward(sequences, {
    logits: 'all',
    hidden: options.layers ?? false,
    ...(options.elastic === undefined ? {} : { size: resolveSize(engine.model, options.elastic) }),
    ...(options.signal ? { signal: options.signal } : {}),
    onRow: (sequence, row, logits) => store('logits', sequence, row, logits),
    onHidden: (sequence, row, layer, values) => store(`hidden.${layer}`, sequence, row, values),
  });
  return results;
}

/**
 * Evaluates and writes one safetensors file. With several sequences the names end in the sequence: `logits.0`,
 * `hidden.3.1`.
 *
 * @returns the names and shapes written
 */
export async function writeEvaluation(
  engine: Engine,
  sequences: readonly (readonly number[])[],
  options: EvaluationOptions & { readonly output: string },
): Promise<{ name: string; shape: readonly number[] }[]> {
  const results = await evaluate(engine, sequences, options);
  const tensors = results.flatMap((result, sequence) =>
    [...result].map(([name, { shape, data }]): SafetensorsTensor => ({
      name: sequences.length === 1 ? name : `${name}.${sequence}`,
      dtype: 'f32',
      shape,
      data: new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
    })),
  );
  await writeSafetensors(options.output, tensors);
  return tensors.map(({ name, shape }) => ({ name, shape }));
}
