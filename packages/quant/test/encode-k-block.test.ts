/** What the K encoders promise: half a step of the group, for the scales as they are stored. */
import fc from 'fast-check';
import { decodeRow, type DType } from '@unicorn-exec/tensor';
import { describe, expect, it } from 'vitest';
import { encodeTensor, encodingDistortion } from '../src/index.js';

function decoded(dtype: DType, values: Float32Array): Float32Array {
  const out = new Float32Array(values.length);
  decodeRow(dtype, encodeTensor(dtype, values), 0, values.length, out);
  return out;
}

/** Pseudorandom and normal, by Box and Muller, so that a failure can be looked at again. */
function normal(count: number, scale = 1): Float32Array {
  let state = 7;
  const next = (): number => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32;
  return Float32Array.from(
    { length: count },
    () => scale * Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next()),
  );
}

/** The largest step that a group of a super-block can have: its range over the quants, plus what the scale was rounded up. */
const formats = [
  { dtype: 'q4_k', group: 32, quants: 15, scaleTop: 63, steps: 0.5 },
  { dtype: 'q6_k', group: 16, quants: 32, scaleTop: 127, steps: 1 },
] as const;

const values = fc
  .array(fc.double({ min: -1, max: 1, noNaN: true }), { minLength: 256, maxLength: 256 })
  .chain((list) =>
    fc
      .integer({ min: -20, max: 12 })
      .map((exponent) => Float32Array.from(list, (value) => value * 2 ** exponent)),
  );

describe.each(formats)('$dtype', ({ dtype, group, quants, scaleTop, steps }) => {
  it('is off by no more than its step, wherever the values are', () => {
    fc.assert(
      fc.property(values, (x) => {
        const y = decoded(dtype, x);
        const magnitude = Math.max(...x.map(Math.abs));
        // A group's scale is rounded up to a multiple of a scaleTop-th of the block's largest. In q4_k the offset is
        // too, by at most a scaleTop-th of the magnitude m; the largest range is then 2 m and that, so the scale adds
        // (2 m + m / scaleTop) / scaleTop.
        const slack = (magnitude / scaleTop) * (dtype === 'q4_k' ? 3 + 1 / scaleTop : 1);
        for (let from = 0; from < 256; from += group) {
          const own = x.subarray(from, from + group);
          const [low, high] = [Math.min(0, ...own), Math.max(...own)];
          const range = dtype === 'q4_k' ? high - low : Math.max(-low, high);
          // Halves are rounded up by at most 2^-10 of themselves, or 2^-24 where they are subnormal, times their multiples.
          const step = ((range + slack) / quants) * (1 + 2 ** -9) + scaleTop * 2 ** -24 * (1 + 1 / quants);
          own.forEach((value, i) => {
            expect(Math.abs(y[from + i]! - value)).toBeLessThanOrEqual(steps * step * (1 + 2 ** -20));
          });
        }
      }),
      { numRuns: 200 },
    );
  });

  it('keeps zeros, and constants to within a 500th', () => {
    expect(decoded(dtype, new Float32Array(256))).toEqual(new Float32Array(256));
    for (const constant of [1, -1, 0.03, -2000]) {
      for (const value of decoded(dtype, new Float32Array(256).fill(constant))) {
        expect(Math.abs(value / constant - 1)).toBeLessThan(1 / 500);
      }
    }
  });

  it('refuses what no half can scale', () => {
    expect(() => encodeTensor(dtype, new Float32Array(256).fill(3e38))).toThrow(
      expect.objectContaining({ code: 'usage/not-encodable' }) as Error,
    );
  });
});

it('loses of normal weights what their steps explain', () => {
  const x = normal(2 ** 16, 0.02);
  // A group of 32 normals spans 4.1 deviations: 15 steps of 0.27, each off by 1/sqrt(12) of it on average.
  expect(encodingDistortion('q4_k', x).relative).toBeLessThan(0.085);
  // The largest of 16 normals is 2.07 deviations: 32 steps of 0.065, or 0.0187 on average, and scales are rounded up.
  expect(encodingDistortion('q6_k', x).relative).toBeLessThan(0.02);
});
