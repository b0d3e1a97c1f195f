/**
 * Sixteen-bit floats: IEEE binary16 ("half", f16) and bfloat16 (bf16), to and from f32. Encoding rounds to nearest
 * even; NaN stays NaN. Rows of them are decoded in `scalar-row.ts`.
 */

/** One f32 and its bits. */
const scratchFloat = new Float32Array(1);
const scratchBits = new Uint32Array(scratchFloat.buffer);

let table: Float32Array | undefined;

/**
 * The f32 value of each of the 65,536 half patterns (256 KiB, made on first use): one load is faster than the
 * arithmetic, and block decoders need a half for every block.
 */
export function halfTable(): Float32Array {
  if (table !== undefined) return table;
  const bits = new Uint32Array(65_536);
  for (let half = 0; half < 65_536; half++) bits[half] = halfToFloatBits(half);
  return (table = new Float32Array(bits.buffer));
}

function halfToFloatBits(half: number): number {
  const sign = (half & 0x8000) << 16;
  const exponent = (half >> 10) & 31;
  const fraction = half & 0x3ff;
  if (exponent === 31) return sign | 0x7f80_0000 | (fraction << 13);
  if (exponent !== 0) return sign | ((exponent - 15 + 127) << 23) | (fraction << 13);
  if (fraction === 0) return sign;
  // Subnormal: fraction * 2^-24. Its leading one, at bit p, becomes the hidden bit of an f32 of exponent p - 24.
  const leading = 31 - Math.clz32(fraction);
  return sign | ((leading - 24 + 127) << 23) | ((fraction << (23 - leading)) & 0x7f_ffff);
}

/** Value of the half whose pattern is the low 16 bits of `bits`. */
export function halfToFloat(bits: number): number {
  return halfTable()[bits & 0xffff]!;
}

/** Pattern of the half nearest to `value` taken as f32; ties to even, overflow to infinity. */
export function floatToHalf(value: number): number {
  scratchFloat[0] = value;
  return floatBitsToHalf(scratchBits[0]!);
}

/** As {@link floatToHalf}, from the bits of an f32, so that a NaN's payload survives. */
export function floatBitsToHalf(bits: number): number {
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fff_ffff;
  if (magnitude > 0x7f80_0000) {
    // A NaN whose payload lies only in the dropped bits must not become infinity.
    const fraction = (magnitude >> 13) & 0x3ff;
    return sign | 0x7c00 | (fraction === 0 ? 1 : fraction);
  }
  // 65,520 lies midway between the largest half (65,504) and the next step: from there on it rounds to infinity.
  if (magnitude >= 0x477f_f000) return sign | 0x7c00;
  if (magnitude >= 0x3880_0000) {
    // Normal (>= 2^-14): rebias, drop 13 bits; adding 0xfff plus the kept lowest bit rounds ties to even.
    const rebiased = magnitude - ((127 - 15) << 23);
    return sign | ((rebiased + 0xfff + ((rebiased >> 13) & 1)) >> 13);
  }
  // Below 2^-25, half of the smallest subnormal, everything is zero; 2^-25 itself is a tie, and even is zero.
  if (magnitude <= 0x3300_0000) return sign;
  // Subnormal: shift the significand (hidden bit set) so that its unit is 2^-24, rounding what falls off.
  const significand = (magnitude & 0x7f_ffff) | 0x80_0000;
  const shift = 126 - (magnitude >> 23);
  const kept = significand >> shift;
  const remainder = significand & ((1 << shift) - 1);
  const tie = 1 << (shift - 1);
  return sign | (remainder > tie || (remainder === tie && (kept & 1) === 1) ? kept + 1 : kept);
}

/** Value of the bfloat16 whose pattern is `bits`: the upper half of an f32. */
export function bfloatToFloat(bits: number): number {
  scratchBits[0] = bits << 16;
  return scratchFloat[0]!;
}

/** Pattern of the bfloat16 nearest to `value` taken as f32; ties to even, overflow to infinity. */
export function floatToBfloat(value: number): number {
  scratchFloat[0] = value;
  return floatBitsToBfloat(scratchBits[0]!);
}

/** As {@link floatToBfloat}, from the bits of an f32. */
export function floatBitsToBfloat(bits: number): number {
  // A NaN is made quiet, which also keeps a payload in the dropped bits from turning it into infinity.
  if ((bits & 0x7fff_ffff) > 0x7f80_0000) return ((bits >>> 16) | 0x40) & 0xffff;
  return ((bits >>> 0) + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
}
