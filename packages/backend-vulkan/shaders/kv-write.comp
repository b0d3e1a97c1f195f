// Stores keys and values in their slots of a paged KV state [blocks, 2, kvHeads, blockTokens, headDim], encoded bit for bit
// as encodeKvRow of @unicorn-exec/tensor does. One invocation an element; q8_0 by 32 invocations a block.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "include/memory.glsl"
#include "include/fault.glsl"
#include "include/half.glsl"

layout(local_size_x_id = 0) in;

#define STATE_F32 0
#define STATE_F16 1
#define STATE_BF16 2
#define STATE_Q8_0 3

#if STATE == STATE_F32
#define TARGET Words
#elif STATE == STATE_Q8_0
#define TARGET Bytes
#else
#define TARGET Halves
#endif

layout(push_constant, scalar) uniform Arguments {
  TARGET state;
  FloatsIn key;
  FloatsIn value;
  IntsIn slots;
  Faults faults;
  // Elements of keys and of values together.
  uint count;
  uint heads;
  uint headDim;
  uint blocks;
  uint blockTokens;
};

#if STATE == STATE_Q8_0
// Sizes of the numbers of each block, to find the largest; a NaN is larger than all.
shared uint sizes[256];

// The f32 nearest to a / b of positive, finite, normal a and b, by long division of the significands: Vulkan's own
// division may be off by 2.5 units, which would round other quants. Subnormal quotients count as 0.
float exactQuotient(float a, float b) {
  uint aBits = floatBitsToUint(a);
  uint bBits = floatBitsToUint(b);
  uint numerator = (aBits & 0x7fffffu) | 0x800000u;
  uint denominator = (bBits & 0x7fffffu) | 0x800000u;
  int exponent = int(aBits >> 23) - int(bBits >> 23);
  if (numerator < denominator) {
    numerator <<= 1;
    exponent -= 1;
  }
  // numerator / denominator in [1, 2): 24 bits of it and one to round by, eight at a time.
  uint quotient = numerator / denominator;
  uint rest = numerator - quotient * denominator;
  for (uint i = 0; i < 3; ++i) {
    rest <<= 8;
    uint digit = rest / denominator;
    rest -= digit * denominator;
    quotient = (quotient << 8) | digit;
  }
  // 1 + 24 bits: the last is a half; ties to even.
  uint half_ = quotient & 1u;
  quotient >>= 1;
  if (half_ != 0u && (rest != 0u || (quotient & 1u) != 0u)) quotient += 1u;
  int biased = exponent + 127;
  if (biased <= 0) return 0.0;
  if (biased >= 255) return infinity;
  // A carry out of the significand raises the exponent, as it should.
  return uintBitsToFloat((uint(biased) << 23) + (quotient - 0x800000u));
}
#endif

void main() {
  uint i = (gl_WorkGroupID.x + gl_WorkGroupID.y * gl_NumWorkGroups.x) * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
  bool inside = i < count;
  uint half_ = count / 2;
  uint part = i >= half_ ? 1u : 0u;
  uint element = min(i - part * half_, half_ - 1u);
  float x = part == 0u ? key.at[element] : value.at[element];
  uint line = element / headDim;
  uint column = element - line * headDim;
  uint token = line / heads;
  uint head = line - token * heads;
  uint slot = uint(slots.at[token]);
  uint block = slot / blockTokens;
  if (block >= blocks) {
    if (inside) noteFault(faults, FAULT_SLOT, slot, blocks);
    inside = false;
  }
  uint row = ((block * 2u + part) * heads + head) * blockTokens + (slot - block * blockTokens);

#if STATE == STATE_F32
  if (inside) state.at[row * headDim + column] = floatBitsToUint(x);
#elif STATE == STATE_F16
  if (inside) state.at[row * headDim + column] = uint16_t(halfBits(x));
#elif STATE == STATE_BF16
  if (inside) state.at[row * headDim + column] = uint16_t(bfloatBits(x));
#else
  uint lane = gl_LocalInvocationID.x;
  sizes[lane] = floatBitsToUint(x) & 0x7fffffffu;
  barrier();
  for (uint step_ = 16u; step_ > 0u; step_ >>= 1) {
    uint larger = 0u;
    bool folds = (lane & 31u) < step_;
    if (folds) larger = max(sizes[lane], sizes[lane + step_]);
    barrier();
    if (folds) sizes[lane] = larger;
    barrier();
  }
  float top = uintBitsToFloat(sizes[lane & ~31u]);
  if (!inside) return;
  // scale = top / 127 and its inverse, each rounded to f32; what is not a number or not finite keeps to IEEE 754.
  float scale = 0.0;
  float inverse = 0.0;
  uint topExponent = floatBitsToUint(top) >> 23;
  if (topExponent == 255u) {
    scale = top;
  } else if (topExponent > 0u) {
    scale = exactQuotient(top, 127.0);
    if (scale > 0.0) inverse = exactQuotient(1.0, scale);
  }
  precise float scaled = x * inverse;
  // Half away from zero. The distance to the integer below is exact; adding one half might round up to the next.
  float size = abs(scaled);
  float whole = floor(size);
  int quant = int(whole) + (size - whole >= 0.5 ? 1 : 0);
  if (topExponent == 255u) quant = 0;
  uint blockByte = (row * (headDim / 32u) + column / 32u) * 34u;
  state.at[blockByte + 2u + (column & 31u)] = uint8_t(uint(scaled < 0.0 ? -quant : quant) & 255u);
  if ((column & 31u) == 0u) {
    uint bits = halfBits(scale);
    state.at[blockByte] = uint8_t(bits & 255u);
    state.at[blockByte + 1u] = uint8_t(bits >> 8);
  }
#endif
}
