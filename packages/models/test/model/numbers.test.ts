/** Plain numbers: the normal quantile, rope tables, bytes of a cache. */
import { describe, expect, it } from 'vitest';
import { kvBytes } from '../../src/index.js';
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

describe('kvBytes', () => {
  const full = { name: 'full', layers: [0, 1], kvHeads: 2, headDim: 64 };
  const sliding = { name: 'sliding', layers: [2], kvHeads: 2, headDim: 64, window: 128 };

  it('counts every token of a full group, and the sink', () => {
    expect(kvBytes({ kvGroups: [full] }, 1600, 'f16')).toBe(101 * 16 * 2 * 2 * 2 * 64 * 2);
    expect(kvBytes({ kvGroups: [full] }, 1, 'q8_0')).toBe(2 * 16 * 2 * 2 * 2 * 68);
  });

  it('counts the window of a sliding group once the context is longer', () => {
    const bytes = (context: number): number =>
      kvBytes({ kvGroups: [sliding] }, context, 'f32', { stepTokens: 1 });
    const block = 16 * 2 * 2 * 64 * 4;
    expect(bytes(64)).toBe(5 * block);
    expect(bytes(128)).toBe(9 * block);
    // Eight blocks of window, one each that it and a step may touch besides, one of the step, the sink.
    expect(bytes(100_000)).toBe(12 * block);
  });
});
