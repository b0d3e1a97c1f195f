import { describe, expect, it } from 'vitest';
import {
  bfloatToFloat,
  floatBitsToBfloat,
  floatBitsToHalf,
  floatToBfloat,
  floatToHalf,
  halfToFloat,
} from '../../src/index.js';

/** The slow twin: f16 from its definition. */
function halfByDefinition(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction === 0 ? sign * Infinity : NaN;
  return sign * (exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15));
}

describe('half', () => {
  it('has the defined value for every pattern, and comes back', () => {
    for (let bits = 0; bits < 65_536; bits++) {
      const value = halfToFloat(bits);
      if (!Object.is(value, halfByDefinition(bits))) expect.unreachable(`pattern ${bits}: ${value}`);
      if (!Number.isNaN(value) && floatToHalf(value) !== bits)
        expect.unreachable(`pattern ${bits} encodes otherwise`);
    }
  });

  it('rounds to nearest, ties to even, between every two neighbours', () => {
    for (let low = 0; low < 0x7bff; low++) {
      const a = halfByDefinition(low);
      const b = halfByDefinition(low + 1);
      const middle = (a + b) / 2; // exact in f32: one bit more than a half has
      const step = 2 ** -22 * middle; // two to four f32 steps
      const even = low % 2 === 0 ? low : low + 1;
      const found = [floatToHalf(middle), floatToHalf(middle - step), floatToHalf(middle + step)];
      if (found.join() !== [even, low, low + 1].join())
        expect.unreachable(`between ${low} and ${low + 1}: ${found.join()}`);
      if (floatToHalf(-middle) !== (even | 0x8000)) expect.unreachable(`sign of ${low}`);
    }
  });

  it('overflows to infinity at the midpoint, keeps zeros, infinities and NaN', () => {
    expect(floatToHalf(65_519.99)).toBe(0x7bff);
    expect(floatToHalf(65_520)).toBe(0x7c00);
    expect(floatToHalf(-1e30)).toBe(0xfc00);
    expect(floatToHalf(Infinity)).toBe(0x7c00);
    expect(floatToHalf(-0)).toBe(0x8000);
    expect(floatToHalf(1e-40)).toBe(0);
    expect(halfToFloat(floatToHalf(NaN))).toBeNaN();
    expect(floatBitsToHalf(0x7f80_0001)).toBe(0x7c01);
    expect(floatBitsToHalf(0xff80_2000 | 0)).toBe(0xfc01);
  });
});

describe('bfloat', () => {
  it('comes back from every pattern', () => {
    for (let bits = 0; bits < 65_536; bits++) {
      const value = bfloatToFloat(bits);
      if (!Number.isNaN(value) && floatToBfloat(value) !== bits) expect.unreachable(`pattern ${bits}`);
    }
  });

  it('rounds to nearest, ties to even', () => {
    expect(floatBitsToBfloat(0x3f80_8000)).toBe(0x3f80);
    expect(floatBitsToBfloat(0x3f80_8001)).toBe(0x3f81);
    expect(floatBitsToBfloat(0x3f81_8000)).toBe(0x3f82);
    expect(floatBitsToBfloat(0x3f81_7fff)).toBe(0x3f81);
    expect(floatBitsToBfloat(0x7f7f_ffff)).toBe(0x7f80);
    expect(floatBitsToBfloat(0xbf81_8000 | 0)).toBe(0xbf82);
  });

  it('keeps NaN', () => {
    expect(floatBitsToBfloat(0x7f80_0001)).toBe(0x7fc0);
    expect(bfloatToFloat(floatToBfloat(NaN))).toBeNaN();
  });
});
