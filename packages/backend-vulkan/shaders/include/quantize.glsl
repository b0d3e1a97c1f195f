// Activations in int8 blocks of 32 columns with one scale each, as products of few rows take them.
// Needs subgroup shuffles; the workgroup is one-dimensional, its size a multiple of the subgroup's.

uint packBytes(ivec4 q) {
  return (uint(q.x) & 255u) | ((uint(q.y) & 255u) << 8) | ((uint(q.z) & 255u) << 16) | (uint(q.w) << 24);
}

// A quarter of a block of 32 columns, in four neighbouring invocations of a subgroup.
struct QuantizedQuarter {
  uvec2 quants;  // 8 columns
  float scale;
  uint sums;  // of the quants: of all 32 columns in the upper 16 bits, of the first 16 in the lower
};

int sumOfBytes(uint q) {
  int v = int(q);
  return bitfieldExtract(v, 0, 8) + bitfieldExtract(v, 8, 8) + bitfieldExtract(v, 16, 8) + (v >> 24);
}

QuantizedQuarter quantizeQuarter(vec4 first, vec4 second) {
  // Magnitudes compare as integers, and a NaN is larger than infinity there: it is not lost as in a float maximum.
  uvec4 bits = max(floatBitsToUint(abs(first)), floatBitsToUint(abs(second)));
  uint top = max(max(bits.x, bits.y), max(bits.z, bits.w));
  top = max(top, subgroupShuffleXor(top, 1));
  top = max(top, subgroupShuffleXor(top, 2));
  float largest = uintBitsToFloat(top);
  QuantizedQuarter quarter;
  quarter.quants = uvec2(0);
  // A block that is not finite has scale NaN and quants 0. Below 1e-30 the inverse could overflow, so that such a block is zero.
  bool finite = top < 0x7f800000u;
  bool zero = !finite || largest < 1e-30;
  quarter.scale = zero ? (finite ? 0.0 : uintBitsToFloat(0x7fc00000u)) : largest / 127.0;
  if (!zero) {
    float inverse = 127.0 / largest;
    quarter.quants.x = packBytes(ivec4(roundEven(first * inverse)));
    quarter.quants.y = packBytes(ivec4(roundEven(second * inverse)));
  }
  int sum = sumOfBytes(quarter.quants.x) + sumOfBytes(quarter.quants.y);
  sum += subgroupShuffleXor(sum, 1);
  int other = subgroupShuffleXor(sum, 2);
  int low = (gl_SubgroupInvocationID & 2u) == 0u ? sum : other;
  quarter.sums = (uint(sum + other) << 16) | (uint(low) & 0xffffu);
  return quarter;
}

layout(buffer_reference, scalar, buffer_reference_align = 8) writeonly buffer WordPairsOut {
  CHAIN_SHARED uvec2 at[];
};

// Puts a quarter of a row of `columns` where products look for it: first quants of columns 0 to 15 of each block, then of
// columns 16 to 31 of each, then for each block the scale and the sums.
void putQuarter(WordPairsOut to, uint columns, uint row, uint quarter, QuantizedQuarter q) {
  uint blocks = columns / 32;
  uint stride = 2 * blocks + (blocks + 1) / 2;
  uint block = quarter / 4;
  uint side = (quarter / 2) & 1u;
  to.at[2 * (row * stride + side * blocks + block) + (quarter & 1u)] = q.quants;
  if ((quarter & 3u) == 0u) to.at[2 * (row * stride + 2 * blocks) + block] = uvec2(floatBitsToUint(q.scale), q.sums);
}
