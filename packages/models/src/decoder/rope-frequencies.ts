/**
 * Frequency tables of rotary embeddings: the plain one and its published stretchings. Each step is rounded to f32 where
 * the reference implementation rounds, since checkpoints were trained with those numbers.
 */
import { UnicornError } from '@unicorn-exec/tensor';

/** What the `rope` op takes as a constant. */
export interface Rope {
  /** Radians per position, one for each pair of elements. */
  readonly frequencies: Float32Array;
  /** Multiplies sine and cosine (YaRN); 1 otherwise. */
  readonly magnitude: number;
  /** Which elements pair: halves of the head, or neighbours. */
  readonly layout: 'half' | 'interleaved';
  /** What the frequencies were made of. */
  readonly settings: RopeSettings;
}

export type RopeScaling =
  | { readonly type: 'default' }
  /** Positions are divided by the factor (Chen et al. 2023, arXiv:2306.15595). */
  | { readonly type: 'linear'; readonly factor: number }
  /** Long wavelengths are stretched, short ones kept (Llama 3.1). */
  | {
      readonly type: 'llama3';
      readonly factor: number;
      readonly lowFrequencyFactor: number;
      readonly highFrequencyFactor: number;
      readonly originalContext: number;
    }
  /** Peng et al. 2023, arXiv:2309.00071. */
  | {
      readonly type: 'yarn';
      readonly factor: number;
      readonly originalContext: number;
      /** Rotations over the original context above which a frequency is kept. */
      readonly betaFast: number;
      /** Rotations below which it is interpolated. */
      readonly betaSlow: number;
      /** The magnitude; `0.1 ln(factor) + 1` when absent. */
      readonly attentionFactor?: number;
      /** Whether the borders are rounded to whole pairs. */
      readonly truncate: boolean;
    }
  /** One divisor for each pair, as GGUF files of Llama 3 carry them (`rope_freqs.weight`). */
  | { readonly type: 'divisors'; readonly divisors: Float32Array };

export interface RopeSettings {
  readonly theta: number;
  readonly scaling: RopeScaling;
}

/**
 * @param dims elements of a head that turn, an even number
 * @throws UnicornError `format/config` when a table of divisors has another length
 */
export function makeRope(settings: RopeSettings, dims: number, layout: Rope['layout'] = 'half'): Rope {
  const { theta } = settings;
  const plain = Float32Array.from(
    { length: dims / 2 },
    (_, pair) => 1 / Math.fround(theta ** Math.fround((2 * pair) / dims)),
  );
  return { magnitude: 1, ...scaled(plain, settings, dims), layout, settings };
}

function scaled(
  plain: Float32Array,
  { theta, scaling }: RopeSettings,
  dims: number,
): Pick<Rope, 'frequencies'> & Partial<Pick<Rope, 'magnitude'>> {
  switch (scaling.type) {
    case 'default':
      return { frequencies: plain };
    case 'linear':
      return { frequencies: plain.map((frequency) => frequency / scaling.factor) };
    case 'llama3':
      return { frequencies: plain.map((frequency) => stretchLlama3(frequency, scaling)) };
    case 'divisors':
      if (scaling.divisors.length !== plain.length) {
        throw new UnicornError(
          'format/config',
          `The rope table has ${scaling.divisors.length} entries; heads that turn ${dims} elements need ${plain.length}.`,
        );
      }
      return { frequencies: plain.map((frequency, pair) => frequency / scaling.divisors[pair]!) };
    case 'yarn':
      return yarn(plain, theta, dims, scaling);
  }
}

function stretchLlama3(frequency: number, scaling: Extract<RopeScaling, { type: 'llama3' }>): number {
  const { factor, lowFrequencyFactor: low, highFrequencyFactor: high, originalContext } = scaling;
  const wavelength = (2 * Math.PI) / frequency;
  if (wavelength < originalContext / high) return frequency;
  if (wavelength > originalContext / low) return frequency / factor;
  const smooth = (originalContext / wavelength - low) / (high - low);
  return ((1 - smooth) * frequency) / factor + smooth * frequency;
}

function yarn(
  plain: Float32Array,
  theta: number,
  dims: number,
  scaling: Extract<RopeScaling, { type: 'yarn' }>,
): Pick<Rope, 'frequencies' | 'magnitude'> {
  /** The pair that turns so often over the original context. */
  const pairOf = (rotations: number): number =>
    (dims * Math.log(scaling.originalContext / (rotations * 2 * Math.PI))) / (2 * Math.log(theta));
  const [fast, slow] = [pairOf(scaling.betaFast), pairOf(scaling.betaSlow)];
  const low = Math.max(scaling.truncate ? Math.floor(fast) : fast, 0);
  const high = Math.min(scaling.truncate ? Math.ceil(slow) : slow, dims - 1);
  // A ramp of no length would divide by zero; the reference widens it by a thousandth of a pair.
  const length = high === low ? 0.001 : high - low;
  const frequencies = plain.map((frequency, pair) => {
    const interpolated = Math.min(1, Math.max(0, (pair - low) / length));
    return (frequency / scaling.factor) * interpolated + frequency * (1 - interpolated);
  });
  const magnitude = scaling.attentionFactor ?? yarnMagnitude(scaling.factor);
  return { frequencies, magnitude };
}

/** What YaRN multiplies sine and cosine with; `scale` weighs the logarithm. */
export function yarnMagnitude(factor: number, scale = 1): number {
  return factor <= 1 ? 1 : 0.1 * scale * Math.log(factor) + 1;
}
