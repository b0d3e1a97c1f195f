import { describe, expect, it } from 'vitest';
import { drawToken, noToken, sampleDistribution, uniformAt, type SampleParameters } from '../../src/index.js';
import { evaluateOp, f32, i32 } from './evaluate-op.js';

const neutral: SampleParameters = {
  temperature: 1,
  topP: 1,
  minP: 0,
  typicalP: 1,
  repetitionPenalty: 1,
  presencePenalty: 0,
  frequencyPenalty: 0,
};

interface Changes extends Partial<SampleParameters> {
  logits?: readonly number[];
  topK?: number;
  history?: readonly number[];
  promptLength?: number;
  bias?: Record<number, number>;
  allowed?: (id: number) => boolean;
}

/** Probabilities by id, rounded to four digits. The logits are those of 0.5, 0.3 and 0.2 by default. */
function distribution(changes: Changes): Record<number, number> {
  const {
    logits = [0.5, 0.3, 0.2].map(Math.log),
    topK = 0,
    history = [],
    promptLength = 0,
    bias = {},
    allowed,
    ...parameters
  } = changes;
  const { ids, probabilities } = sampleDistribution({
    logits: Float32Array.from(logits),
    parameters: { ...neutral, ...parameters },
    topK,
    history: Int32Array.from(history),
    promptLength,
    biasIds: Int32Array.from(Object.keys(bias), Number),
    biasValues: Float32Array.from(Object.values(bias)),
    ...(allowed ? { allowed } : {}),
  });
  return Object.fromEntries([...ids].map((id, i) => [id, Math.round(probabilities[i]! * 1e4) / 1e4]));
}

describe('sampleDistribution', () => {
  it('is the softmax when nothing is asked', () => {
    expect(distribution({})).toEqual({ 0: 0.5, 1: 0.3, 2: 0.2 });
    // Squares: 0.25, 0.09 and 0.04 of 0.38.
    expect(distribution({ temperature: 0.5 })).toEqual({ 0: 0.6579, 1: 0.2368, 2: 0.1053 });
  });

  it('cuts', () => {
    expect(distribution({ topK: 2 })).toEqual({ 0: 0.625, 1: 0.375 });
    expect(distribution({ topK: 1, logits: [1, 1, 0] })).toEqual({ 0: 0.5, 1: 0.5 });
    // The smallest, 0.2, fits into 1 - 0.6; with 0.3 it would not.
    expect(distribution({ topP: 0.6 })).toEqual({ 0: 0.625, 1: 0.375 });
    expect(distribution({ topP: 0 })).toEqual({ 0: 1 });
    expect(distribution({ minP: 0.5 })).toEqual({ 0: 0.625, 1: 0.375 });
    expect(distribution({ minP: 1 })).toEqual({ 0: 1 });
    // Entropy 1.0297: 0.3 is nearest to it, then 0.5.
    expect(distribution({ typicalP: 0.2 })).toEqual({ 1: 1 });
    expect(distribution({ typicalP: 0.7 })).toEqual({ 0: 0.625, 1: 0.375 });
  });

  it('adjusts by history, bias and permission', () => {
    const logits = [2, -1, 0];
    const odds = (changes: Changes) => distribution({ logits, ...changes });
    const softmax = (...scores: number[]): Record<number, number> => {
      const total = scores.reduce((sum, score) => sum + Math.exp(score), 0);
      return Object.fromEntries(
        scores.map((score, id) => [id, Math.round((1e4 * Math.exp(score)) / total) / 1e4]),
      );
    };
    // Divided when positive, multiplied when negative, once for each token.
    expect(odds({ repetitionPenalty: 2, history: [0, 1, 0] })).toEqual(softmax(1, -2, 0));
    // The prompt does not count.
    expect(odds({ presencePenalty: 1, history: [1, 0, 0], promptLength: 1 })).toEqual(softmax(1, -1, 0));
    expect(odds({ frequencyPenalty: 0.5, history: [0, 0, 2] })).toEqual(softmax(1, -1, -0.5));
    expect(odds({ bias: { 1: 3, 2: -1 } })).toEqual(softmax(2, 2, -1));
    expect(odds({ allowed: (id) => id !== 0 })).toEqual({ 1: 0.2689, 2: 0.7311 });
    // Tokens outside the vocabulary may be in a history (an image's placeholder).
    expect(odds({ repetitionPenalty: 2, presencePenalty: 1, history: [3, -1, 99] })).toEqual(
      softmax(2, -1, 0),
    );
  });

  it('takes the first best when cold, minus infinity never', () => {
    expect(distribution({ temperature: 0, logits: [1, 3, 3] })).toEqual({ 1: 1 });
    expect(distribution({ temperature: 0, logits: [-Infinity, -Infinity, -5] })).toEqual({ 2: 1 });
  });

  it('is empty where logits are no numbers, or nothing may be chosen', () => {
    for (const temperature of [0, 1]) {
      for (const logits of [
        [NaN, 1],
        [1, NaN],
        [1, Infinity],
        [-Infinity, -Infinity],
      ]) {
        expect(distribution({ temperature, logits })).toEqual({});
      }
      expect(distribution({ temperature, allowed: () => false })).toEqual({});
    }
    expect(drawToken({ ids: new Int32Array(0), probabilities: new Float64Array(0) }, 0.5)).toBe(noToken);
  });

  it('says what cannot be biased', () => {
    const code = (name: string) => expect.objectContaining({ code: name });
    expect(() => distribution({ bias: { 3: 1 } })).toThrow(code('usage/logit-bias'));
  });
});

describe('drawToken', () => {
  const candidates = { ids: Int32Array.of(4, 7, 9), probabilities: Float64Array.of(0.5, 0.25, 0.25) };
  it.each([
    [0, 4],
    [0.4999, 4],
    [0.5, 7],
    [0.75, 9],
    [0.9999999, 9],
  ])('of %d is %i', (uniform, id) => {
    expect(drawToken(candidates, uniform)).toBe(id);
  });
});

describe('sample', () => {
  const inputs = (controls: readonly number[], history = i32([2, 3], [5, 6, 7, 8, 9, 10])) => ({
    logits: f32([1, 3], [0, 0, 0]),
    parameters: f32([1, 7], [1, 1, 0, 1, 1, 0, 0]),
    controls: i32([1, 7], controls),
    biasIds: i32([1, 0], []),
    biasValues: f32([1, 0], []),
    history,
  });

  it('draws at the position under the seed, and appends to the history', () => {
    const given = inputs([0, 11, 22, 33, 1, 2, 0]);
    const [ids, history] = evaluateOp('sample', given);
    const wanted = Math.floor(3 * uniformAt(11, 22, 33));
    expect([...ids!.integers]).toEqual([wanted]);
    expect([...history!.integers]).toEqual([5, 6, 7, 8, 9, wanted]);
  });

  it('allows what the mask allows', () => {
    const [ids] = evaluateOp('sample', { ...inputs([0, 1, 2, 3, 0, 3, 0]), mask: i32([1, 1], [0b100]) });
    expect(ids!.integers[0]).toBe(2);
  });

  it.each([
    [[0, 0, 0, 0, 2, 0, 0]],
    [[0, 0, 0, 0, -1, 0, 0]],
    [[0, 0, 0, 0, 0, 4, 0]],
    [[0, 0, 0, 0, 0, -1, 0]],
    [[0, 0, 0, 0, 0, 1, -1]],
  ])('refuses history that is not there: %o', (controls) => {
    expect(() => evaluateOp('sample', inputs(controls))).toThrow(
      expect.objectContaining({ code: 'usage/history' }),
    );
  });

  it('refuses operands that do not fit together', () => {
    const shape = expect.objectContaining({ code: 'usage/shape' });
    const given = inputs([0, 0, 0, 0, 0, 0, 0]);
    expect(() => evaluateOp('sample', { ...given, biasValues: f32([1, 1], [0]) })).toThrow(shape);
    expect(() => evaluateOp('sample', { ...given, mask: i32([1, 2], [0, 0]) })).toThrow(shape);
    expect(() => evaluateOp('sample', { ...given, controls: i32([1, 6], [0, 0, 0, 0, 0, 0]) })).toThrow(
      shape,
    );
  });
});
