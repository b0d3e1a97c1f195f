/** Rotary position embedding (Su et al. 2021, arXiv:2104.09864). Models scale it by the frequency table that they give. */
import { expectDType, expectDim, expectRank, shapeError, specElements, type Op } from './op.js';

export const rope: Op = {
  name: 'rope',
  about: 'turns pairs of each head by position * frequency',
  operands: [
    { name: 'x', about: 'f32 [tokens, heads, headDim]' },
    { name: 'positions', about: 'i32 [tokens]' },
    {
      name: 'frequencies',
      about: 'f32 [pairs], radians per position; pairs <= headDim / 2, the rest passes through',
    },
  ],
  attributes: {
    layout: {
      type: 'string',
      about: 'which elements pair: (i, i + pairs), or (2i, 2i + 1) as in GGUF files of Llama',
      default: 'half',
      values: ['half', 'interleaved'],
    },
    magnitude: { type: 'number', about: 'multiplies sine and cosine (YaRN)', default: 1 },
  },
  outputs({ x, positions, frequencies }) {
    expectRank('rope', 'x', x!, 3);
    expectDType('rope', 'x', x!, 'f32');
    expectDType('rope', 'frequencies', frequencies!, 'f32');
    expectDType('rope', 'positions', positions!, 'i32');
    expectDim('rope', 'the length of positions', positions!.shape[0], x!.shape[0]);
    expectRank('rope', 'frequencies', frequencies!, 1);
    const [headDim, pairs] = [x!.shape[2], frequencies!.shape[0]];
    if (typeof headDim !== 'number' || typeof pairs !== 'number' || 2 * pairs > headDim) {
      throw shapeError('rope', `${pairs} pairs do not fit a head of ${headDim}.`);
    }
    return [{ dtype: 'f32', shape: x!.shape }];
  },
  flops: ({ x }) => 3 * specElements(x!),
  evaluate({ inputs, attributes, outputs }) {
    const x = inputs.x!;
    const values = x.floats;
    const positions = inputs.positions!.integers;
    const frequencies = inputs.frequencies!.floats;
    const pairs = frequencies.length;
    const [tokens, heads, headDim] = x.shape as [number, number, number];
    const interleaved = attributes.layout === 'interleaved';
    const magnitude = attributes.magnitude as number;
    const out = outputs[0]!.floats;
    out.set(values);
    for (let token = 0; token < tokens; token++) {
      for (let pair = 0; pair < pairs; pair++) {
        // The angle is rounded to f32 before the sine, as checkpoints were trained with.
        const angle = Math.fround(positions[token]! * frequencies[pair]!);
        const cosine = Math.fround(Math.cos(angle)) * magnitude;
        const sine = Math.fround(Math.sin(angle)) * magnitude;
        for (let head = 0; head < heads; head++) {
          const start = (token * heads + head) * headDim;
          const first = start + (interleaved ? 2 * pair : pair);
          const second = interleaved ? first + 1 : first + pairs;
          const [a, b] = [values[first]!, values[second]!];
          out[first] = a * cosine - b * sine;
          out[second] = b * cosine + a * sine;
        }
      }
    }
  },
};
