// Rows of activations on their way into a product: the root mean square of a row, and int8 blocks of 32 columns. All in
// one fixed order, whatever the workgroup's size, so that every form of the product sees the same bits.
// Needs memory.glsl and subgroup shuffles; the workgroup is one-dimensional, its size a multiple of the subgroup's.

// Partial sums of squares of a row: slot s takes vectors of four columns s, s + 256, ...
#define SQUARE_SLOTS 256

shared float squareSlots[SQUARE_SLOTS];

vec4 rowVector(Vectors x, bool wide, uint at) {
  if (wide) return uintBitsToFloat(x.at[at / 4]);
  FloatsIn floats = FloatsIn(x);
  return vec4(floats.at[at], floats.at[at + 1], floats.at[at + 2], floats.at[at + 3]);
}

// 1 / sqrt(mean square + epsilon) of the row that begins at element `start`. Every invocation of the workgroup calls it.
float inverseRms(Vectors x, bool wide, uint start, uint columns, float epsilon) {
  uint place = gl_SubgroupID * gl_SubgroupSize + gl_SubgroupInvocationID;
  barrier();
  for (uint slot = place; slot < SQUARE_SLOTS; slot += gl_WorkGroupSize.x) {
    precise float sum = 0.0;
    for (uint column = 4 * slot; column < columns; column += 4 * SQUARE_SLOTS) {
      vec4 v;
      if (column + 4 <= columns) {
        v = rowVector(x, wide, start + column);
      } else {
        [[unroll]] for (uint i = 0; i < 4; i++) v[i] = column + i < columns ? FloatsIn(x).at[start + column + i] : 0.0;
      }
      sum = fma(v.x, v.x, sum);
      sum = fma(v.y, v.y, sum);
      sum = fma(v.z, v.z, sum);
      sum = fma(v.w, v.w, sum);
    }
    squareSlots[slot] = sum;
  }
  barrier();
  // Each subgroup adds all slots by itself, in an order that its size decides.
  precise float total = 0.0;
  for (uint slot = gl_SubgroupInvocationID; slot < SQUARE_SLOTS; slot += gl_SubgroupSize) total = total + squareSlots[slot];
  for (uint step = gl_SubgroupSize / 2; step > 0; step /= 2) total = total + subgroupShuffleXor(total, step);
  precise float mean = total / float(columns) + epsilon;
  return 1.0 / sqrt(mean);
}

// What the norm makes of four values; `inverse` is 1 and `weight` 0 where there is none.
vec4 normed(vec4 v, float inverse, FloatsIn weight, bool hasWeight, float offset, uint column) {
  precise vec4 scaled = v * inverse;
  if (hasWeight) {
    precise vec4 factors =
        offset + vec4(weight.at[column], weight.at[column + 1], weight.at[column + 2], weight.at[column + 3]);
    scaled = scaled * factors;
  }
  return scaled;
}

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
  // Not finite: scale NaN, quants 0. Below 1e-30 the inverse could overflow; such a block is zero for every purpose.
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
