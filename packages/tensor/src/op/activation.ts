/** Nonlinear functions of one element, alone and inside the gated linear unit. */
import { expectDim, expectDType, expectRank, specElements, type Op } from './op.js';

/** Hendrycks and Gimpel 2016 (arXiv:1606.08415), the tanh form: `gelu_pytorch_tanh`. */
function geluTanh(x: number): number {
  return 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));
}

const functions = {
  silu: (x: number) => x / (1 + Math.exp(-x)),
  geluTanh,
  relu: (x: number) => (x > 0 ? x : x === x ? 0 : x),
  tanh: Math.tanh,
  sigmoid: (x: number) => 1 / (1 + Math.exp(-x)),
} satisfies Record<string, (x: number) => number>;

export type ActivationKind = keyof typeof functions;

const kinds = Object.keys(functions);

export const activation: Op = {
  name: 'activation',
  about: 'a nonlinear function of every element',
  operands: [{ name: 'x', about: 'f32, any shape' }],
  attributes: { kind: { type: 'string', about: 'the function', values: kinds } },
  outputs({ x }) {
    expectDType('activation', 'x', x!, 'f32');
    return [{ dtype: 'f32', shape: x!.shape }];
  },
  flops: ({ x }) => 10 * specElements(x!),
  evaluate({ inputs, attributes, outputs }) {
    const f = functions[attributes.kind as ActivationKind];
    const x = inputs.x!.floats;
    const out = outputs[0]!.floats;
    for (let i = 0; i < x.length; i++) out[i] = f(x[i]!);
  },
};

/** Shazeer 2020, arXiv:2002.05202. */
export const glu: Op = {
  name: 'glu',
  about: 'activation(gate) * up',
  operands: [
    { name: 'gate', about: 'f32, any shape' },
    { name: 'up', about: 'f32, same shape' },
  ],
  attributes: { kind: { type: 'string', about: 'the function of the gate', values: kinds } },
  outputs({ gate, up }) {
    expectDType('glu', 'gate', gate!, 'f32');
    expectDType('glu', 'up', up!, 'f32');
    expectRank('glu', 'up', up!, gate!.shape.length);
    gate!.shape.forEach((dim, axis) => expectDim('glu', `axis ${axis} of up`, up!.shape[axis], dim));
    return [{ dtype: 'f32', shape: gate!.shape }];
  },
  flops: ({ gate }) => 11 * specElements(gate!),
  evaluate({ inputs, attributes, outputs }) {
    const f = functions[attributes.kind as ActivationKind];
    const gate = inputs.gate!.floats;
    const up = inputs.up!.floats;
    const out = outputs[0]!.floats;
    for (let i = 0; i < gate.length; i++) out[i] = Math.fround(f(gate[i]!)) * up[i]!;
  },
};

/** Gemma 2 and 3n bound attention scores and logits by `cap * tanh(x / cap)`. */
export const softcap: Op = {
  name: 'softcap',
  about: 'cap * tanh(x / cap)',
  operands: [{ name: 'x', about: 'f32, any shape' }],
  attributes: { cap: { type: 'number', about: 'the largest magnitude that can come out' } },
  outputs({ x }) {
    expectDType('softcap', 'x', x!, 'f32');
    return [{ dtype: 'f32', shape: x!.shape }];
  },
  flops: ({ x }) => 10 * specElements(x!),
  evaluate({ inputs, attributes, outputs }) {
    const cap = attributes.cap as number;
    const x = inputs.x!.floats;
    const out = outputs[0]!.floats;
    for (let i = 0; i < x.length; i++) out[i] = cap * Math.tanh(x[i]! / cap);
  },
};

/**
 * Gemma 3n's activation sparsity (Gaussian top-k, Spark Transformer, arXiv:2506.06644): keeps what lies above
 * `mean + deviations * standard deviation` of its row, as the distance to that cut. The deviation is the population's.
 */
export const gaussianTopK: Op = {
  name: 'gaussianTopK',
  about: 'relu(x - (mean + deviations * std)), over the last axis',
  operands: [{ name: 'x', about: 'f32 [..., features]' }],
  attributes: { deviations: { type: 'number', about: 'normal quantile of the wanted sparsity' } },
  outputs({ x }) {
    expectDType('gaussianTopK', 'x', x!, 'f32');
    return [{ dtype: 'f32', shape: x!.shape }];
  },
  flops: ({ x }) => 6 * specElements(x!),
  evaluate({ inputs, attributes, outputs }) {
    const { rows, columns, floats: x } = inputs.x!;
    const out = outputs[0]!.floats;
    for (let row = 0; row < rows; row++) {
      const values = x.subarray(row * columns, (row + 1) * columns);
      const mean = values.reduce((sum, value) => sum + value, 0) / columns;
      const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / columns;
      const cut = mean + (attributes.deviations as number) * Math.sqrt(variance);
      for (let i = 0; i < columns; i++) {
        const above = values[i]! - cut;
        out[row * columns + i] = above > 0 || above !== above ? above : 0;
      }
    }
  },
};
