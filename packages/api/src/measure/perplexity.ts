/** How well a model predicts a text: perplexity, and the KL divergence from a second model. */
import { resolveSize, type ElasticSpec } from '@unicorn-exec/models';
import { UnicornError } from '@unicorn-exec/tensor';
import type { Engine } from '../engine.js';
import { expectFinite } from './finite-logits.js';
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
  /** Standard error of `perplexity`, by how the tokens' likelihoods spread; 0 for one token. */
  readonly standardError: number;
  readonly kl?: Divergence;
  /** How often both models have the same best token, with `against`. */
  readonly sameTop?: { readonly share: number; readonly standardError: number };
}

/** KL divergence per token, in nats. */
export interface Divergence {
  readonly mean: number;
  /** Of the mean. */
  readonly standardError: number;
  readonly median: number;
  readonly p99: number;
  readonly max: number;
}

/**
 * Scores a text in windows of the context that do not overlap, each beginning with BOS where the tokenizer adds it;
 * every token of a window but its first is scored.
 *
 * @throws UnicornError `usage/option`, `usage/text` when the text is too short to score, `usage/vocabulary` when two models
 * differ, `device/result` for logits that are not finite
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
  const losses = new Spread();
  const divergences: number[] = [];
  let sameTop = 0;
  for (const window of windows) {
    const references = against ? await referenceLogits(against, window, options) : undefined;
    await forEachRow(engine, window, options, (row, logits) => {
      if (row + 1 === window.length) return;
      const own = logSoftmax(logits);
      losses.add(-own.logarithms[window[row + 1]!]!);
      if (references) {
        const reference = logSoftmax(references[row]!);
        divergences.push(divergence(reference.logarithms, own.logarithms));
        if (reference.top === own.top) sameTop++;
      }
      options.onProgress?.(losses.count, total);
    });
  }
  const value = Math.exp(losses.mean);
  const result = {
    tokens: total,
    negativeLogLikelihood: losses.sum,
    perplexity: value,
    // The derivative of exp is its value.
    standardError: value * losses.standardError,
  };
  if (!against) return result;
  const share = sameTop / total;
  return {
    ...result,
    kl: summarize(divergences),
    sameTop: { share, standardError: Math.sqrt((share * (1 - share)) / total) },
  };
}

/** Sum and spread of numbers that come one by one (Welford's way, which subtracts no large squares). */
class Spread {
  count = 0;
  sum = 0;
  mean = 0;
  #squares = 0;

  add(value: number): void {
    this.count++;
    this.sum += value;
    const delta = value - this.mean;
    this.mean += delta / this.count;
    this.#squares += delta * (value - this.mean);
  }

  /** Of the mean; 0 for fewer than two numbers. */
  get standardError(): number {
    return this.count > 1 ? Math.sqrt(this.#squares / (this.count - 1) / this.count) : 0;
  }
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
      for (let row = 0; row < count; row++) {
        const one = logits!.subarray(row * width, (row + 1) * width);
        expectFinite(one, { engine, position: position + row });
        onRow(position + row, one);
      }
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

interface LogDistribution {
  readonly logarithms: Float64Array;
  /** The id of the best token, the first of several. */
  readonly top: number;
}

/**
 * In float64: a sum over 262,144 terms in f32 loses the digits that perplexities differ in.
 *
 * @param logits finite ones
 */
function logSoftmax(logits: Float32Array): LogDistribution {
  let top = 0;
  for (let id = 1; id < logits.length; id++) if (logits[id]! > logits[top]!) top = id;
  const best = logits[top]!;
  let total = 0;
  for (const logit of logits) total += Math.exp(logit - best);
  const shift = best + Math.log(total);
  return { logarithms: Float64Array.from(logits, (logit) => logit - shift), top };
}

/** KL(p || q) of two log distributions, in nats. */
function divergence(p: Float64Array, q: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < p.length; i++) sum += Math.exp(p[i]!) * (p[i]! - q[i]!);
  return Math.max(0, sum);
}

function summarize(values: readonly number[]): Divergence {
  const sorted = Float64Array.from(values).sort();
  const at = (share: number): number =>
    sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0;
  const spread = new Spread();
  for (const value of values) spread.add(value);
  const { mean, standardError } = spread;
  return { mean, standardError, median: at(0.5), p99: at(0.99), max: sorted.at(-1) ?? 0 };
}
