// How keys and values are encoded in a paged KV state [blocks, parts, kvHeads, blockTokens, headDim], bit for bit as
// encodeKvRow of @unicorn-exec/tensor does. STATE says in what dtype.
#include "half.glsl"

#define STATE_F32 0
#define STATE_F16 1
#define STATE_BF16 2
#define STATE_Q8_0 3

#if STATE == STATE_F32
#define KvState Words
#elif STATE == STATE_Q8_0
#define KvState Bytes
#else
#define KvState Halves
#endif

// Where a token's row lies, in rows of the state, which stores two parts, or keys alone. `block` was found to be in it.
uint kvRow(uint block, uint parts, uint part, uint head, uint heads, uint blockTokens, uint slot) {
  return ((block * parts + part) * heads + head) * blockTokens + (slot - block * blockTokens);
}

#if STATE == STATE_Q8_0

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

// One element of a block of 32. `topBits` are those of the block's largest number without its sign; a NaN is larger than
// all. What is not a number or not finite keeps to IEEE 754.
void storeQuant(KvState state, uint row, uint headDim, uint column, float x, uint topBits) {
  // scale = top / 127 and its inverse, each rounded to f32.
  float top = uintBitsToFloat(topBits);
  float scale = 0.0;
  float inverse = 0.0;
  uint topExponent = topBits >> 23;
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
}

#else

void storeElement(KvState state, uint at, float x) {
#if STATE == STATE_F32
  state.at[at] = floatBitsToUint(x);
#elif STATE == STATE_F16
  state.at[at] = uint16_t(halfBits(x));
#else
  state.at[at] = uint16_t(bfloatBits(x));
#endif
}

#endif
