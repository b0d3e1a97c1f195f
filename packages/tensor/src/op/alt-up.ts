/**
 * AltUp (Baykal et al. 2023, arXiv:2301.13310) as Gemma 3n uses it: several residual streams, of which a layer
 * computes one and predicts the others.
 */
import {
  expectDim,
  expectDType,
  expectRank,
  shapeError,
  specElements,
  type Op,
  type OperandSpecs,
} from './op.js';

function expectFloats(op: string, operands: OperandSpecs): void {
  for (const [name, spec] of Object.entries(operands)) expectDType(op, name, spec, 'f32');
}

/** @throws UnicornError `usage/shape` when the active stream is not one of `streams`. */
function expectStream(op: string, active: number, streams: unknown): void {
  if (!Number.isInteger(active) || active < 0 || active >= (streams as number)) {
    throw shapeError(op, `There is no stream ${active} of ${String(streams)}.`, { active, streams });
  }
}

export const altUpPredict: Op = {
  name: 'altUpPredict',
  about: 'streams[b] + sum over a of coefficients[b, a] * streams[a], per token',
  operands: [
    { name: 'streams', about: 'f32 [streams, tokens, features]' },
    { name: 'coefficients', about: 'f32 [tokens, streams * streams], row b * streams + a' },
  ],
  attributes: {},
  outputs({ streams, coefficients }) {
    expectFloats('altUpPredict', { streams: streams!, coefficients: coefficients! });
    expectRank('altUpPredict', 'streams', streams!, 3);
    expectDim('altUpPredict', 'the tokens of coefficients', coefficients!.shape[0], streams!.shape[1]);
    expectDim(
      'altUpPredict',
      'the columns of coefficients',
      coefficients!.shape[1],
      (streams!.shape[0] as number) ** 2,
    );
    return [{ dtype: 'f32', shape: streams!.shape }];
  },
  flops: ({ streams }) => 2 * specElements(streams!) * streams!.shape[0]!,
  evaluate({ inputs, outputs }) {
    const x = inputs.streams!.floats;
    const coefficients = inputs.coefficients!.floats;
    const [count, tokens, features] = inputs.streams!.shape as [number, number, number];
    const out = outputs[0]!.floats;
    for (let b = 0; b < count; b++) {
      for (let token = 0; token < tokens; token++) {
        for (let i = 0; i < features; i++) {
          let sum = 0;
          for (let a = 0; a < count; a++) {
            sum += coefficients[(token * count + b) * count + a]! * x[(a * tokens + token) * features + i]!;
          }
          const at = (b * tokens + token) * features + i;
          out[at] = x[at]! + sum;
        }
      }
    }
  },
};

export const altUpCorrect: Op = {
  name: 'altUpCorrect',
  about: 'predictions[b] + (1 + coefficients[b]) * (activated - predictions[active]), per token',
  operands: [
    { name: 'predictions', about: 'f32 [streams, tokens, features]' },
    { name: 'activated', about: 'f32 [tokens, features]' },
    { name: 'coefficients', about: 'f32 [tokens, streams]' },
  ],
  attributes: { active: { type: 'number', about: 'the stream that the layer computed', default: 0 } },
  outputs({ predictions, activated, coefficients }, attributes) {
    expectFloats('altUpCorrect', {
      predictions: predictions!,
      activated: activated!,
      coefficients: coefficients!,
    });
    expectRank('altUpCorrect', 'predictions', predictions!, 3);
    expectStream('altUpCorrect', attributes.active as number, predictions!.shape[0]);
    expectDim('altUpCorrect', 'the tokens of activated', activated!.shape[0], predictions!.shape[1]);
    expectDim('altUpCorrect', 'the features of activated', activated!.shape[1], predictions!.shape[2]);
    expectDim('altUpCorrect', 'the tokens of coefficients', coefficients!.shape[0], predictions!.shape[1]);
    expectDim('altUpCorrect', 'the columns of coefficients', coefficients!.shape[1], predictions!.shape[0]);
    return [{ dtype: 'f32', shape: predictions!.shape }];
  },
  flops: ({ predictions }) => 3 * specElements(predictions!),
  evaluate({ inputs, attributes, outputs }) {
    const predictions = inputs.predictions!.floats;
    const activated = inputs.activated!.floats;
    const coefficients = inputs.coefficients!.floats;
    const [count, tokens, features] = inputs.predictions!.shape as [number, number, number];
    const active = attributes.active as number;
    const out = outputs[0]!.floats;
    for (let b = 0; b < count; b++) {
      for (let token = 0; token < tokens; token++) {
        const factor = 1 + coefficients[token * count + b]!;
        for (let i = 0; i < features; i++) {
          const innovation =
            activated[token * features + i]! - predictions[(active * tokens + token) * features + i]!;
          const at = (b * tokens + token) * features + i;
          out[at] = predictions[at]! + factor * innovation;
        }
      }
    }
  },
};

export const altUpInject: Op = {
  name: 'altUpInject',
  about: 'adds a value to every stream but the active one (per-layer embeddings)',
  operands: [
    { name: 'streams', about: 'f32 [streams, tokens, features]' },
    { name: 'value', about: 'f32 [tokens, features]' },
  ],
  attributes: { active: { type: 'number', about: 'the stream left as it is', default: 0 } },
  outputs({ streams, value }, attributes) {
    expectFloats('altUpInject', { streams: streams!, value: value! });
    expectRank('altUpInject', 'streams', streams!, 3);
    expectStream('altUpInject', attributes.active as number, streams!.shape[0]);
    expectDim('altUpInject', 'the tokens of value', value!.shape[0], streams!.shape[1]);
    expectDim('altUpInject', 'the features of value', value!.shape[1], streams!.shape[2]);
    return [{ dtype: 'f32', shape: streams!.shape }];
  },
  flops: ({ streams }) => specElements(streams!),
  evaluate({ inputs, attributes, outputs }) {
    const streams = inputs.streams!.floats;
    const value = inputs.value!.floats;
    const out = outputs[0]!.floats;
    for (let b = 0; b < inputs.streams!.shape[0]!; b++) {
      const start = b * value.length;
      for (let i = 0; i < value.length; i++) {
        out[start + i] = streams[start + i]! + (b === attributes.active ? 0 : value[i]!);
      }
    }
  },
};
