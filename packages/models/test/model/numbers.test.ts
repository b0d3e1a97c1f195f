/** Plain numbers: the normal quantile and rope tables. */
import { describe, expect, it } from 'vitest';
import { makeRope } from '../../src/decoder/rope-frequencies.js';
import { normalQuantile } from '../../src/normal-quantile.js';

describe('normalQuantile', () => {
  // From tables to 15 digits: the three branches of the algorithm, and their symmetry.
  const known: [probability: number, z: number][] = [
    [0.5, 0],
    [0.75, 0.674489750196082],
    [0.9, 1.2815515655446],
    [0.95, 1.64485362695147],
    [0.975, 1.95996398454005],
    [0.999, 3.09023230616781],
    [1e-12, -7.03448382530113],
  ];
  for (const [probability, z] of known) {
    it(`of ${probability}`, () => {
      expect(normalQuantile(probability)).toBeCloseTo(z, 11);
      if (probability > 1e-6) expect(normalQuantile(1 - probability)).toBeCloseTo(-z, 11);
    });
  }

  it('of the ends', () => {
    expect([normalQuantile(0), normalQuantile(1)]).toEqual([-Infinity, Infinity]);
  });
});

describe('rope tables', () => {
  it('divide linearly', () => {
    const plain = makeRope({ theta: 1e4, scaling: { type: 'default' } }, 8).frequencies;
    const linear = makeRope({ theta: 1e4, scaling: { type: 'linear', factor: 4 } }, 8).frequencies;
    expect([...plain].map((value) => value * 1000)).toEqual(
      [1000, 100, 10, 1].map((value) => expect.closeTo(value, 4) as number),
    );
    expect([...linear]).toEqual([...plain].map((value) => Math.fround(value / 4)));
  });

  it('keep fast pairs and stretch slow ones with YaRN, at a larger magnitude', () => {
    const scaling = {
      type: 'yarn',
      factor: 4,
      originalContext: 4096,
      betaFast: 32,
      betaSlow: 1,
      truncate: true,
    } as const;
    const plain = makeRope({ theta: 1e6, scaling: { type: 'default' } }, 128).frequencies;
    const { frequencies, magnitude } = makeRope({ theta: 1e6, scaling }, 128);
    expect(magnitude).toBeCloseTo(1 + 0.1 * Math.log(4), 12);
    expect(frequencies[0]).toBe(plain[0]);
    expect(frequencies[63]).toBeCloseTo(plain[63]! / 4, 12);
    // Between the borders the table falls without a jump.
    for (let pair = 1; pair < 64; pair++) expect(frequencies[pair]).toBeLessThan(frequencies[pair - 1]!);
  });
});
