// Prepares activations for the forms of the product: joins them with a residual, norms them, and quantizes them to int8 or
// rounds them to f16. A workgroup makes a row, which it reads once: an invocation keeps 8 neighbouring columns in registers.
// The order of additions follows from the columns and the device. Layouts, in vectors of 16 bytes:
//   f32    [tokens, columns] floats
//   int8   see putQuarter
//   f16    [tokens, padded columns], times a power of two for each token that keeps the row in range; then the inverse of
//          that power for each token (f32)
#version 460
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#extension GL_KHR_shader_subgroup_shuffle : require
#include "include/chain.glsl"
#include "include/memory.glsl"
#include "include/weights.glsl"
#include "include/quantize.glsl"

layout(local_size_x_id = 0) in;
#define FORM_F32 0
#define FORM_INT8 1
#define FORM_F16 2
// True: only the sum with a residual is made.
#define FORM_NONE 3
layout(constant_id = 1) const uint form = FORM_F32;
layout(constant_id = 2) const bool hasNorm = false;
layout(constant_id = 3) const bool hasWeight = false;
// f16: swaps the middle two of each four columns, as the product unpacks weights in planes.
layout(constant_id = 4) const bool swapped = false;
// Whether there is a residual, and whether x is normed before it is added.
layout(constant_id = 5) const bool joins = false;
layout(constant_id = 6) const bool normsJoined = false;
layout(constant_id = 7) const bool hasJoinWeight = false;
// Whether rows, and the norms' weights, can be read by vectors of 16 bytes: columns are whole octets then.
layout(constant_id = 8) const bool wide = false;
layout(constant_id = 9) const bool wideWeights = false;
// Octets of columns that an invocation keeps, at most 4. More are read again from memory.
layout(constant_id = 10) const uint held = 1;
// Whether there are more than those.
layout(constant_id = 11) const bool hasRest = true;

// Octets that are kept lie in registers: indices are literals, so loops are written out under conditions of `held`.
#define EACH_KEPT(DO) DO(0) DO(1) DO(2) DO(3)

layout(buffer_reference, scalar, buffer_reference_align = 16) buffer VectorsOut {
  CHAIN_SHARED uvec4 at[];
};

layout(push_constant, scalar) uniform Arguments {
  Floats x;
  FloatsIn normWeight;
  Floats result;
  FloatsIn residual;
  // x and the residual: may be the residual's place.
  Floats joined;
  FloatsIn joinWeight;
#if CHAINED
  Chain chain;
#endif
  uint tokens;
  uint columns;
  // f16: columns with padding, a multiple of 8.
  uint padded;
  float epsilon;
  float normOffset;
  float joinEpsilon;
  float joinOffset;
#if CHAINED
  uint before;
#endif
};

// Column i of an octet is `v[i / 4][i % 4]`.
#define Octet mat2x4
#define EACH_ELEMENT(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7)

// Sums of subgroups, first for the joined row, then for the normed one.
#define SUMS (gl_WorkGroupSize.x / 4)
shared float subgroupSums[2 * SUMS];
shared uint largest;

float subgroupSum(float value) {
  precise float sum = value;
  for (uint distance = gl_SubgroupSize / 2; distance > 0; distance /= 2) sum = sum + subgroupShuffleXor(sum, distance);
  return sum;
}

// All invocations have the same bits. Each call has shared memory of its own, and so needs one barrier.
float workgroupSum(float value, uint call) {
  float sum = subgroupSum(value);
  if (gl_NumSubgroups == 1) return sum;
  if (gl_SubgroupInvocationID == 0) subgroupSums[call * SUMS + gl_SubgroupID] = sum;
  barrier();
  sum = 0.0;
  for (uint i = gl_SubgroupInvocationID; i < gl_NumSubgroups; i += gl_SubgroupSize) {
    sum = sum + subgroupSums[call * SUMS + i];
  }
  return subgroupSum(sum);
}

// Zeros beyond the columns.
Octet octetAt(Floats from, bool byVectors, uint start, uint column) {
  Octet v = Octet(0.0);
  if (byVectors) {
    if (column < columns) {
      VectorsOut vectors = VectorsOut(from);
      uint at = (start + column) / 4;
      v[0] = uintBitsToFloat(vectors.at[at]);
      v[1] = uintBitsToFloat(vectors.at[at + 1]);
    }
  } else {
#define ELEMENT(i) \
  if (column + i < columns) v[i / 4][i % 4] = from.at[start + column + i];
    EACH_ELEMENT(ELEMENT)
  }
  return v;
}

void store(Floats to, uint start, uint column, Octet v) {
  if (wide) {
    if (column >= columns) return;
    VectorsOut vectors = VectorsOut(to);
    uint at = (start + column) / 4;
    vectors.at[at] = floatBitsToUint(v[0]);
    vectors.at[at + 1] = floatBitsToUint(v[1]);
  } else {
#define PUT_ELEMENT(i) \
  if (column + i < columns) to.at[start + column + i] = v[i / 4][i % 4];
    EACH_ELEMENT(PUT_ELEMENT)
  }
}

float squaresOf(Octet v, float given) {
  precise float sum = given;
#define SQUARE(i) sum = fma(v[i / 4][i % 4], v[i / 4][i % 4], sum);
  EACH_ELEMENT(SQUARE)
  return sum;
}

float inverseRms(float squares, float least, uint call) {
  precise float mean = workgroupSum(squares, call) / float(columns) + least;
  return 1.0 / sqrt(mean);
}

Octet weightAt(FloatsIn weight, uint column) {
  return octetAt(Floats(weight), wideWeights, 0, column);
}

Octet normed(Octet v, float inverse, Octet factors, bool weighted, float offset) {
  precise vec4 low = v[0] * inverse;
  precise vec4 high = v[1] * inverse;
  if (weighted) {
    low = low * (offset + factors[0]);
    high = high * (offset + factors[1]);
  }
  return Octet(low, high);
}

Octet normedAt(Octet v, float inverse, uint column) {
  Octet factors;
  if (hasWeight) factors = weightAt(normWeight, column);
  return normed(v, inverse, factors, hasWeight, normOffset);
}

// An octet of the residual, and the weights of the norm before the sum with it.
struct Joint {
  Octet base;
  Octet factors;
};

Octet joinFactorsAt(uint column) {
  Octet factors;
  if (normsJoined && hasJoinWeight) factors = weightAt(joinWeight, column);
  return factors;
}

Joint jointAt(uint start, uint column) {
  return Joint(octetAt(Floats(residual), wide, start, column), joinFactorsAt(column));
}

Octet joinedWith(Joint joint, Octet v, float inverse) {
  if (normsJoined) v = normed(v, inverse, joint.factors, hasJoinWeight, joinOffset);
  Octet base = joint.base;
  precise vec4 low = base[0] + v[0];
  precise vec4 high = base[1] + v[1];
  return Octet(low, high);
}

uint largestOf(Octet v, uint top) {
  uvec4 bits = max(floatBitsToUint(abs(v[0])), floatBitsToUint(abs(v[1])));
  return max(top, max(max(bits.x, bits.y), max(bits.z, bits.w)));
}

void putF16(Octet v, float power, uint token, uint octet) {
  v = v * power;
  uvec4 packed;
  packed.x = packHalf2x16(swapped ? v[0].xz : v[0].xy);
  packed.y = packHalf2x16(swapped ? v[0].yw : v[0].zw);
  packed.z = packHalf2x16(swapped ? v[1].xz : v[1].xy);
  packed.w = packHalf2x16(swapped ? v[1].yw : v[1].zw);
  VectorsOut(result).at[token * padded / 8 + octet] = packed;
}

// In the int8 form four neighbours have a block, so all of them or none call it.
void put(Octet v, float power, uint token, uint start, uint octet) {
  if (form == FORM_F32) store(result, start, 8 * octet, v);
  if (form == FORM_INT8) putQuarter(WordPairsOut(result), columns, token, octet, quantizeQuarter(v[0], v[1]));
  if (form == FORM_F16) putF16(v, power, token, octet);
}

void prepare(uint token) {
  // Where no sum over the row is needed, several workgroups may share it.
  uint place = gl_WorkGroupID.z * gl_WorkGroupSize.x + gl_SubgroupID * gl_SubgroupSize + gl_SubgroupInvocationID;
  uint start = token * columns;
  uint octets = (form == FORM_F16 ? padded : columns + 7) / 8;
  // Invocation i has octets i, i + size, ...
  uint size = gl_NumWorkGroups.z * gl_WorkGroupSize.x;
  uint rest = place + held * size;

  // Where few octets are kept, all other loads begin before the first sum is waited for, and those of the norms' weights
  // before all others.
  const bool early = held == 1;
  Joint joint;
  Octet factors;
  if (early && joins) joint.factors = joinFactorsAt(8 * place);
  if (early && hasNorm && hasWeight) factors = weightAt(normWeight, 8 * place);
  awaitEarlier(chain, before);
  Octet kept[4];
#define LOAD(i) \
  if (i < held) kept[i] = octetAt(x, wide, start, 8 * (place + i * size));
  EACH_KEPT(LOAD)
  if (early && joins) joint.base = octetAt(Floats(residual), wide, start, 8 * place);
  Floats source = x;

  if (joins) {
    float inverse = 1.0;
    if (normsJoined) {
      float squares = 0.0;
#define ADD_SQUARES(i) \
  if (i < held) squares = squaresOf(kept[i], squares);
      EACH_KEPT(ADD_SQUARES)
      for (uint o = rest; hasRest && o < octets; o += size)
        squares = squaresOf(octetAt(x, wide, start, 8 * o), squares);
      inverse = inverseRms(squares, joinEpsilon, 0);
    }
#define JOIN(i)                                                 \
  if (i < held) {                                               \
    if (!early) joint = jointAt(start, 8 * (place + i * size)); \
    kept[i] = joinedWith(joint, kept[i], inverse);              \
  }
    EACH_KEPT(JOIN)
    for (uint o = rest; hasRest && o < octets; o += size) {
      Octet v = joinedWith(jointAt(start, 8 * o), octetAt(x, wide, start, 8 * o), inverse);
      store(joined, start, 8 * o, v);
    }
    source = joined;
  }

  float inverse = 1.0;
  if (hasNorm) {
    float squares = 0.0;
    EACH_KEPT(ADD_SQUARES)
    for (uint o = rest; hasRest && o < octets; o += size)
      squares = squaresOf(octetAt(source, wide, start, 8 * o), squares);
    inverse = inverseRms(squares, epsilon, 1);
  }
  // After the last sum: its barrier would wait for what is stored.
#define STORE_JOINED(i) \
  if (i < held) store(joined, start, 8 * (place + i * size), kept[i]);
  if (joins) {
    EACH_KEPT(STORE_JOINED)
  }
  if (form == FORM_NONE) return;
  if (hasNorm) {
#define NORM(i)                                                                \
  if (i < held) {                                                              \
    kept[i] = early ? normed(kept[i], inverse, factors, hasWeight, normOffset) \
                    : normedAt(kept[i], inverse, 8 * (place + i * size));      \
  }
    EACH_KEPT(NORM)
  }

  float power = 1.0;
  if (form == FORM_F16) {
    if (place == 0) largest = 0;
    uint top = 0;
#define FIND_LARGEST(i) \
  if (i < held) top = largestOf(kept[i], top);
    EACH_KEPT(FIND_LARGEST)
    for (uint o = rest; hasRest && o < octets; o += size) {
      Octet v = octetAt(source, wide, start, 8 * o);
      if (hasNorm) v = normedAt(v, inverse, 8 * o);
      top = largestOf(v, top);
    }
    top = subgroupMax(top);
    barrier();
    if (subgroupElect()) atomicMax(largest, top);
    barrier();
    // The largest magnitude of the row becomes one of [2^9, 2^10): f16 reaches 2^16 above and 2^-24 below. Rows that are
    // not finite, or zero, stay as they are.
    uint exponent = largest >> 23;
    bool scales = exponent > 30u && exponent < 255u;
    int shift = scales ? 136 - int(exponent) : 0;
    // In [-118, 105]: both powers are normal floats.
    power = uintBitsToFloat(uint(127 + shift) << 23);
    if (place == 0) result.at[tokens * padded / 2 + token] = uintBitsToFloat(uint(127 - shift) << 23);
  }

#define PUT(i) \
  if (i < held && place + i * size < octets) put(kept[i], power, token, start, place + i * size);
  EACH_KEPT(PUT)
  for (uint octet = rest; hasRest && octet < octets; octet += size) {
    Octet v = octetAt(source, wide, start, 8 * octet);
    if (hasNorm) v = normedAt(v, inverse, 8 * octet);
    put(v, power, token, start, octet);
  }
}

void main() {
  uint token = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
  if (token < tokens) {
    prepare(token);
  } else {
    awaitEarlier(chain, before);
  }
  countEnded(chain);
}
