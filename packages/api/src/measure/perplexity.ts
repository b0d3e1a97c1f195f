/** How well a model predicts a text: perplexity, and the KL divergence from a second model. */
import { resolveSize, type ElasticSpec } from '@unicorn-exec/models';
import { UnicornError } from '@unicorn-exec/tensor';
import type { Engine } from '../engine.js';
import {
  abortSignal,
  callback,
  checkArgument,
  checkOptions,
  engineRule,
  required,
  size,
  text as textRule,
  type OptionTable,
} from '../option.js';

export interface PerplexityOptions {
  /** A second model of the same vocabulary: the divergence is KL(against || engine), per token, in nats. */
  readonly against?: Engine | undefined;
  readonly elastic?: ElasticSpec | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((scoredTokens: number, totalTokens: number) => void) | undefined;
}

const perplexityOptionTable: OptionTable<PerplexityOptions> = {
  against: engineRule,
  elastic: size,
  signal: abortSignal,
  onProgress: callback,
};

export interface Perplexity {
  /** Tokens scored. */
  readonly tokens: number;
  /** Sum over the scored tokens, in nats. */
  readonly negativeLogLikelihood: number;
  /** exp of the mean negative log likelihood. */
  readonly perplexity: number;
  readonly kl?: { readonly mean: number; readonly max: number; readonly p99: number };
}

/**
 * Scores a text in windows of the context that do not overlap, each beginning with BOS where the tokenizer adds it;
 * every token of a window but its first is scored.
 *
 * @throws UnicornError `usage/option`, `usage/text` when the text is too short to score, `usage/vocabulary` when two models differ
 */
export async function perplexity(
  engine: Engine,
  text: string,
  options: PerplexityOptions = {},
): Promise<Perplexity> {
  checkArgument('perplexity', 'engine', engine, required(engineRule));
  checkArgument('perplexity', 'text', text, required(textRule));
  checkOptions('perplexity', options, perplexityOptionTable);
  const { against } = options;
  if (against && against.model.vocabularySize !== engine.model.vocabularySize) {
    throw new UnicornError(
      'usage/vocabulary',
      `The two models have vocabularies of ${engine.model.vocabularySize} and ${against.model.vocabularySize} tokens: their predictions cannot be compared.`,
    );
  }
  const windows = await cutWindows(engine, text, against);
  const total = windows.reduce((sum, window) => sum + window.length - 1, 0);
  if (total === 0)
    throw new UnicornError('usage/text', 'The text has fewer than two tokens: nothing can be scored.');
  let negativeLogLikelihood = 0;
  let scored = 0;
  const divergences: number[] = [];
  for (const window of windows) {
    const references = against ? await referenceLogits(against, window, options) : undefined;
    await forEachRow(engine, window, options, (row, logits) => {
      if (row + 1 === window.length) return;
      const own = logSoftmax(logits);
      negativeLogLikelihood -= own[window[row + 1]!]!;
      if (references) divergences.push(divergence(logSoftmax(references[row]!), own));
      options.onProgress?.(++scored, total);
    });
  }
  const result = {
    tokens: total,
    negativeLogLikelihood,
    perplexity: Math.exp(negativeLogLikelihood / total),
  };
  return against ? { ...result, kl: summarize(divergences) } : result;
}

async function cutWindows(engine: Engine, text: string, against: Engine | undefined): Promise<number[][]> {
  const { bosId, addBos } = await engine.model.tokenizer();
  const ids = await engine.tokenize(text);
  const length = Math.min(engine.context.contextLength, against?.context.contextLength ?? Infinity);
  const head = addBos && bosId !== undefined ? [bosId] : [];
  const step = length - head.length;
  const windows: number[][] = [];
  for (let start = 0; start < ids.length; start += step)
    windows.push([...head, ...ids.slice(start, start + step)]);
  return windows;
}

async function forEachRow(
  engine: Engine,
  window: readonly number[],
  { elastic, signal }: PerplexityOptions,
  onRow: (row: number, logits: Float32Array) => void,
): Promise<void> {
  await engine.forward([window], {
    logits: 'all',
    size: elastic === undefined ? undefined : resolveSize(engine.model, elastic),
    signal,
    onRows: ({ position, count, logits }) => {
      const width = engine.model.vocabularySize;
      for (let row = 0; row < count; row++)
        onRow(position + row, logits!.subarray(row * width, (row + 1) * width));
    },
  });
}

/** The logits of every row, as they are: rounded logarithms would diverge from themselves. */
async function referenceLogits(
  engine: Engine,
  window: readonly number[],
  { signal }: PerplexityOptions,
): Promise<Float32Array[]> {
  const rows: Float32Array[] = [];
  // The size belongs to the model under test, not to the reference.
  await forEachRow(engine, window, { signal }, (row, logits) => {
    rows[row] = logits.slice();
  });
  return rows;
}

/** In float64: a sum over 262,144 terms in f32 loses the digits that perplexities differ in. */
function logSoftmax(logits: Float32Array): Float64Array {
  let top = -Infinity;
  for (const logit of logits) if (logit > top) top = logit;
  let total = 0;
  for (const logit of logits) total += Math.exp(logit - top);
  const shift = top + Math.log(total);
  return Float64Array.from(logits, (logit) => logit - shift);
}

/** KL(p || q) of two log distributions, in nats. */
function divergence(p: Float64Array, q: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < p.length; i++) sum += Math.exp(p[i]!) * (p[i]! - q[i]!);
  return Math.max(0, sum);
}

function summarize(values: number[]): { mean: number; max: number; p99: number } {
  const sorted = Float64Array.from(values).sort();
  return {
    mean: sorted.reduce((sum, value) => sum + value, 0) / sorted.length,
    max: sorted.at(-1) ?? 0,
    p99: sorted[Math.min(sorted.length - 1, Math.floor(0.99 * sorted.length))] ?? 0,
  };
}
