/** Normalizations over the last axis: root mean square, and matching one vector's magnitude to another's. */
import { expectDim, expectDType, expectRank, specElements, type Op } from './op.js';

/** RMSNorm (Zhang and Sennrich 2019, arXiv:1910.07467): `x * (mean(x^2) + epsilon)^-0.5 * (weightOffset + weight)`. */
export const rmsNorm: Op = {
  name: 'rmsNorm',
  about: 'x / rms(x) * (weightOffset + weight), over the last axis',
  operands: [
    { name: 'x', about: 'f32 [..., features]' },
    { name: 'weight', about: 'any dtype [features]', optional: true },
  ],
  attributes: {
    epsilon: { type: 'number', about: 'added to the mean square' },
    weightOffset: {
      type: 'number',
      about: '1 where checkpoints store weight - 1 (Gemma 2 and 3)',
      default: 0,
    },
  },
  outputs({ x, weight }) {
    expectDType('rmsNorm', 'x', x!, 'f32');
    if (weight) {
      expectRank('rmsNorm', 'weight', weight, 1);
      expectDim('rmsNorm', 'weight', weight.shape[0], x!.shape.at(-1));
    }
    return [{ dtype: 'f32', shape: x!.shape }];
  },
  flops: ({ x }) => 4 * specElements(x!),
  evaluate({ inputs, attributes, outputs }) {
    const x = inputs.x!;
    const values = x.floats;
    const weight = inputs.weight?.toFloats();
    const offset = attributes.weightOffset as number;
    const out = outputs[0]!.floats;
    for (let row = 0; row < x.rows; row++) {
      const start = row * x.columns;
      let squares = 0;
      for (let i = 0; i < x.columns; i++) squares += values[start + i]! ** 2;
      const inverse = 1 / Math.sqrt(squares / x.columns + (attributes.epsilon as number));
      for (let i = 0; i < x.columns; i++) {
        out[start + i] = values[start + i]! * inverse * (weight ? offset + weight[i]! : 1);
      }
    }
  },
};

/** Gemma 3n: an AltUp stream rescaled to the root mean square of the active one. */
export const matchRms: Op = {
  name: 'matchRms',
  about: 'x * rms(reference) / sqrt(max(mean(x^2), floor)), over the last axis',
  operands: [
    { name: 'x', about: 'f32 [..., features]' },
    { name: 'reference', about: 'f32, same shape' },
  ],
  attributes: { floor: { type: 'number', about: 'least mean square of x', default: 1e-5 } },
  outputs({ x, reference }) {
    expectDType('matchRms', 'x', x!, 'f32');
    expectDType('matchRms', 'reference', reference!, 'f32');
    expectRank('matchRms', 'reference', reference!, x!.shape.length);
    x!.shape.forEach((dim, axis) =>
      expectDim('matchRms', `axis ${axis} of reference`, reference!.shape[axis], dim),
    );
    return [{ dtype: 'f32', shape: x!.shape }];
  },
  flops: ({ x }) => 5 * specElements(x!),
  evaluate({ inputs, attributes, outputs }) {
    const x = inputs.x!;
    const values = x.floats;
    const reference = inputs.reference!.floats;
    const out = outputs[0]!.floats;
    for (let row = 0; row < x.rows; row++) {
      const start = row * x.columns;
      let own = 0;
      let wanted = 0;
      for (let i = start; i < start + x.columns; i++) {
        own += values[i]! ** 2;
        wanted += reference[i]! ** 2;
      }
      const factor =
        Math.sqrt(wanted / x.columns) / Math.sqrt(Math.max(own / x.columns, attributes.floor as number));
      for (let i = start; i < start + x.columns; i++) out[i] = values[i]! * factor;
    }
  },
};
