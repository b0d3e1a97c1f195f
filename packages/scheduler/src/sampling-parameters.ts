/**
 * How a request wants its tokens chosen: ranges, defaults, and the rows of the `sample` op they become. What each
 * parameter means is the op's business (`@unicorn-exec/tensor`).
 */
import { sampleControls, sampleParameters, UnicornError } from '@unicorn-exec/tensor';

/** Every field is optional; a field left out changes nothing. */
export interface SamplingParameters {
  /** 0 always takes the best token; 1 (default) leaves the distribution as it is. 0 to 100. */
  readonly temperature?: number | undefined;
  /** Keep the k best tokens; 0 (default) keeps all. */
  readonly topK?: number | undefined;
  /** Keep the best tokens up to this mass. 0 to 1, default 1. */
  readonly topP?: number | undefined;
  /** Drop tokens below this fraction of the best one's probability. 0 to 1, default 0. */
  readonly minP?: number | undefined;
  /** Keep the tokens nearest to the entropy up to this mass. 0 to 1, default 1. */
  readonly typicalP?: number | undefined;
  /** Divides (or multiplies, if negative) the logit of each token seen before. Above 0 to 100, default 1. */
  readonly repetitionPenalty?: number | undefined;
  /** Subtracted from the logit of each token generated before. -100 to 100, default 0. */
  readonly presencePenalty?: number | undefined;
  /** Subtracted once for each time the token was generated before. -100 to 100, default 0. */
  readonly frequencyPenalty?: number | undefined;
  /** Token id to what is added to its logit. At most {@link maxLogitBiases} entries, finite values. */
  readonly logitBias?: ReadonlyMap<number, number> | Readonly<Record<string, number>> | undefined;
  /** A whole number of at most 64 bits (negative ones as two's complement). Without one a random seed is drawn. */
  readonly seed?: number | bigint | undefined;
}

/** Ids that one request may bias: OpenAI's limit is 300; each id costs 8 bytes a row and step. */
export const maxLogitBiases = 1024;

/** Legal values, ends included, and the neutral value. */
const ranges = {
  temperature: [0, 100, 1],
  topP: [0, 1, 1],
  minP: [0, 1, 0],
  typicalP: [0, 1, 1],
  // The least normal f32: zero would divide by zero.
  repetitionPenalty: [2 ** -126, 100, 1],
  presencePenalty: [-100, 100, 0],
  frequencyPenalty: [-100, 100, 0],
} as const satisfies Record<(typeof sampleParameters)[number], readonly [number, number, number]>;

const penalties = ['repetitionPenalty', 'presencePenalty', 'frequencyPenalty'] as const;

/** A request's checked parameters as rows of the `sample` op. */
export interface SamplingRow {
  /** One row of the operand `parameters`. */
  readonly parameters: Float32Array;
  /** One row of the operand `controls`; position, slot and history change with each token. */
  readonly controls: Int32Array;
  readonly biasIds: Int32Array;
  readonly biasValues: Float32Array;
  /** Whether a penalty is in force, so that earlier tokens matter. */
  readonly penalized: boolean;
  /** As given, or as drawn. */
  readonly seed: number | bigint;
}

function refuse(parameter: string, value: unknown, fix: string): never {
  throw new UnicornError(
    'usage/sampling',
    `The sampling parameter ${parameter} cannot be ${String(value)}.`,
    {
      fields: { parameter, value: String(value) },
      fix,
    },
  );
}

/** 48 bits: exact as a JSON number, so that a run can be repeated from its report. */
function randomSeed(): number {
  const [high, low] = crypto.getRandomValues(new Uint32Array(2));
  return (high! >>> 16) * 2 ** 32 + low!;
}

function seedWords(seed: number | bigint): [low: number, high: number] {
  const whole = typeof seed === 'bigint' || (typeof seed === 'number' && Number.isSafeInteger(seed));
  const wide = whole ? BigInt(seed) : 0n;
  if (!whole || wide < -(2n ** 63n) || wide >= 2n ** 64n) {
    refuse('seed', seed, 'Give a whole number of at most 64 bits; above 2^53 as a bigint.');
  }
  const bits = BigInt.asUintN(64, wide);
  return [Number(bits & 0xffffffffn) | 0, Number(bits >> 32n) | 0];
}

function biasEntries(bias: SamplingParameters['logitBias'], vocabularySize: number): [number, number][] {
  if (bias === undefined) return [];
  const entries = bias instanceof Map ? [...bias] : Object.entries(bias as Record<string, number>);
  if (entries.length > maxLogitBiases) {
    refuse('logitBias', `${entries.length} entries`, `Bias at most ${maxLogitBiases} tokens.`);
  }
  return entries.map(([key, value]): [number, number] => {
    const id = typeof key === 'string' && key.trim() === '' ? NaN : Number(key);
    if (!Number.isInteger(id) || id < 0 || id >= vocabularySize) {
      refuse(
        'logitBias',
        `for token ${String(key)}`,
        `Token ids are whole numbers from 0 to ${vocabularySize - 1}.`,
      );
    }
    if (typeof value !== 'number' || !Number.isFinite(Math.fround(value))) {
      refuse(
        'logitBias',
        `${String(value)} for token ${id}`,
        'Use a finite number; -100 bans a token in practice.',
      );
    }
    return [id, value];
  });
}

/**
 * Checks parameters and packs them.
 *
 * @throws UnicornError `usage/sampling` naming the parameter, its value and its range
 */
export function packSampling(given: SamplingParameters, vocabularySize: number): SamplingRow {
  const parameters = Float32Array.from(sampleParameters, (name) => {
    const [least, most, neutral] = ranges[name];
    const value = given[name] ?? neutral;
    if (typeof value !== 'number' || !(value >= least && value <= most)) {
      refuse(
        name,
        value,
        `It must be a number ${least === 2 ** -126 ? 'above 0' : `from ${least}`} to ${most}.`,
      );
    }
    return value;
  });
  const topK = given.topK ?? 0;
  if (!Number.isSafeInteger(topK) || topK < 0) {
    refuse('topK', topK, 'It must be a whole number from 0; 0 keeps every token.');
  }
  const seed = given.seed ?? randomSeed();
  const [seedLow, seedHigh] = seedWords(seed);
  const biases = biasEntries(given.logitBias, vocabularySize);
  const controls = new Int32Array(sampleControls.length);
  controls[sampleControls.indexOf('topK')] = Math.min(topK, vocabularySize);
  controls[sampleControls.indexOf('seedLow')] = seedLow;
  controls[sampleControls.indexOf('seedHigh')] = seedHigh;
  return {
    parameters,
    controls,
    biasIds: Int32Array.from(biases, ([id]) => id),
    biasValues: Float32Array.from(biases, ([, value]) => value),
    penalized: penalties.some((name) => parameters[sampleParameters.indexOf(name)] !== ranges[name][2]),
    seed,
  };
}
