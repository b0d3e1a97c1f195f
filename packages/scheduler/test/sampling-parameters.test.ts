import { describe, expect, it } from 'vitest';
import { sampleControls, sampleParameters } from '@unicorn-exec/tensor';
import { maxLogitBiases, packSampling, type SamplingParameters } from '../src/index.js';

const vocabulary = 100;

function refusal(parameters: SamplingParameters): unknown {
  try {
    packSampling(parameters, vocabulary);
  } catch (error) {
    return error;
  }
  return undefined;
}

describe('packSampling', () => {
  it('fills in neutral values in the order of the op', () => {
    const { parameters, controls, biasIds } = packSampling({}, vocabulary);
    const row = Object.fromEntries(sampleParameters.map((name, index) => [name, parameters[index]]));
    expect(row).toEqual({
      temperature: 1,
      topP: 1,
      minP: 0,
      typicalP: 1,
      repetitionPenalty: 1,
      presencePenalty: 0,
      frequencyPenalty: 0,
    });
    expect(controls[sampleControls.indexOf('topK')]).toBe(0);
    expect(biasIds.length).toBe(0);
  });

  it.each<[keyof SamplingParameters, unknown]>([
    ['temperature', NaN],
    ['temperature', -0.1],
    ['temperature', '0.7'],
    ['topP', 1.01],
    ['topP', Infinity],
    ['minP', -1],
    ['typicalP', NaN],
    ['repetitionPenalty', 0],
    ['presencePenalty', 101],
    ['frequencyPenalty', NaN],
    ['topK', 2.5],
    ['topK', -1],
    ['topK', NaN],
    ['seed', 0.5],
    ['seed', NaN],
    ['seed', 2 ** 60],
    ['seed', 2n ** 64n],
    ['seed', 'abc'],
    ['logitBias', { 100: 1 }],
    ['logitBias', { '-1': 1 }],
    ['logitBias', { '': 1 }],
    ['logitBias', { three: 1 }],
    ['logitBias', { 3: NaN }],
    ['logitBias', { 3: -Infinity }],
    ['logitBias', new Map([[3, 1e39]])],
  ])('refuses %s = %o with the parameter in the error and a fix', (name, value) => {
    expect(refusal({ [name]: value })).toMatchObject({
      code: 'usage/sampling',
      fields: { parameter: name },
      fix: expect.any(String) as string,
    });
  });

  it('refuses more biases than a step has room for', () => {
    const logitBias = new Map(Array.from({ length: maxLogitBiases + 1 }, (_, id) => [id, 1]));
    expect(() => packSampling({ logitBias }, 5000)).toThrow(/entries/);
  });

  it('takes biases as a map or a record', () => {
    for (const logitBias of [new Map([[3, -2]]), { 3: -2 }]) {
      const { biasIds, biasValues } = packSampling({ logitBias }, vocabulary);
      expect([[...biasIds], [...biasValues]]).toEqual([[3], [-2]]);
    }
  });

  it('spreads a seed over two words', () => {
    const words = (seed: number | bigint): number[] => {
      const { controls } = packSampling({ seed }, vocabulary);
      return [
        controls[sampleControls.indexOf('seedLow')]! >>> 0,
        controls[sampleControls.indexOf('seedHigh')]! >>> 0,
      ];
    };
    expect(words(5)).toEqual([5, 0]);
    expect(words(2 ** 32 + 7)).toEqual([7, 1]);
    expect(words(-1)).toEqual([0xffffffff, 0xffffffff]);
    expect(words(2n ** 64n - 1n)).toEqual([0xffffffff, 0xffffffff]);
  });

  it('draws a seed when there is none, and reports it', () => {
    const [a, b] = [packSampling({}, vocabulary), packSampling({}, vocabulary)];
    expect(a.seed).not.toBe(b.seed);
    expect(Number.isSafeInteger(a.seed)).toBe(true);
    expect(packSampling({ seed: a.seed }, vocabulary).controls).toEqual(a.controls);
  });
});
