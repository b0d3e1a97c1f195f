// Activations as the forms of the product take them, once for all its workgroups: normed, and quantized to int8 or rounded
// to f16. A workgroup makes a row. Layouts, in vectors of 16 bytes:
//   f32    [tokens, columns] floats
//   int8   for each token: quants of columns 0 to 15 of each block, then of columns 16 to 31 of each, then for each block
//          the scale (f32) and the sums of quants, two words
//   f16    [tokens, padded columns], times a power of two for each token that keeps the row in range; then the inverse of
//          that power for each token (f32)
#version 460
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_shuffle : require
#include "include/memory.glsl"
#include "include/weights.glsl"
#include "include/quantize.glsl"

layout(local_size_x_id = 0) in;
#define FORM_F32 0
#define FORM_INT8 1
#define FORM_F16 2
layout(constant_id = 1) const uint form = FORM_F32;
layout(constant_id = 2) const bool hasNorm = false;
layout(constant_id = 3) const bool hasWeight = false;
layout(constant_id = 4) const bool wide = false;
// f16: swaps the middle two of each four columns, as the product unpacks weights in planes.
layout(constant_id = 5) const bool swapped = false;

layout(buffer_reference, scalar, buffer_reference_align = 16) writeonly buffer VectorsOut {
  uvec4 at[];
};
layout(buffer_reference, scalar, buffer_reference_align = 8) writeonly buffer WordPairsOut {
  uvec2 at[];
};

layout(push_constant, scalar) uniform Arguments {
  Vectors x;
  FloatsIn normWeight;
  VectorsOut result;
  uint tokens;
  uint columns;
  // f16: columns with padding, a multiple of 8.
  uint padded;
  float epsilon;
  float normOffset;
};

shared uint largest;

void main() {
  uint token = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
  if (token >= tokens) return;
  uint place = gl_SubgroupID * gl_SubgroupSize + gl_SubgroupInvocationID;
  uint start = token * columns;
  float inverse = 1.0;
  if (hasNorm) inverse = inverseRms(x, wide, start, columns, epsilon);

  if (form == FORM_F32) {
    for (uint column = place; column < columns; column += gl_WorkGroupSize.x) {
      precise float v = FloatsIn(x).at[start + column] * inverse;
      if (hasWeight) v = v * (normOffset + normWeight.at[column]);
      Floats(result).at[start + column] = v;
    }
    return;
  }

  if (form == FORM_INT8) {
    uint blocks = columns / 32;
    uint stride = 2 * blocks + (blocks + 1) / 2;
    for (uint quarter = place; quarter < 4 * blocks; quarter += gl_WorkGroupSize.x) {
      uint column = 8 * quarter;
      vec4 first = normed(rowVector(x, wide, start + column), inverse, normWeight, hasWeight, normOffset, column);
      vec4 second = normed(rowVector(x, wide, start + column + 4), inverse, normWeight, hasWeight, normOffset, column + 4);
      QuantizedQuarter q = quantizeQuarter(first, second);
      uint block = quarter / 4;
      uint side = (quarter / 2) & 1u;
      WordPairsOut(result).at[2 * (token * stride + side * blocks + block) + (quarter & 1u)] = q.quants;
      if ((quarter & 3u) == 0u) {
        WordPairsOut(result).at[2 * (token * stride + 2 * blocks) + block] = uvec2(floatBitsToUint(q.scale), q.sums);
      }
    }
    return;
  }

  // FORM_F16
  if (place == 0) largest = 0;
  barrier();
  uint top = 0;
  for (uint column = place; column < columns; column += gl_WorkGroupSize.x) {
    precise float v = FloatsIn(x).at[start + column] * inverse;
    if (hasWeight) v = v * (normOffset + normWeight.at[column]);
    top = max(top, floatBitsToUint(abs(v)));
  }
  atomicMax(largest, top);
  barrier();
  // The largest magnitude of the row becomes one of [2^9, 2^10): f16 reaches 2^16 above and 2^-24 below. Rows that are not
  // finite, or zero, stay as they are.
  uint exponent = largest >> 23;
  bool scales = exponent > 30u && exponent < 255u;
  int shift = scales ? 136 - int(exponent) : 0;
  // In [-118, 105]: both powers are normal floats.
  float power = uintBitsToFloat(uint(127 + shift) << 23);
  if (place == 0) Floats(result).at[tokens * padded / 2 + token] = uintBitsToFloat(uint(127 - shift) << 23);
  for (uint column = 8 * place; column < padded; column += 8 * gl_WorkGroupSize.x) {
    float values[8];
    [[unroll]] for (uint i = 0; i < 8; i++) {
      precise float v = 0.0;
      if (column + i < columns) {
        v = FloatsIn(x).at[start + column + i] * inverse;
        if (hasWeight) v = v * (normOffset + normWeight.at[column + i]);
      }
      values[i] = v * power;
    }
    uvec4 packed;
    [[unroll]] for (uint i = 0; i < 2; i++) {
      uint second = 4 * i + (swapped ? 2 : 1);
      uint third = 4 * i + (swapped ? 1 : 2);
      packed[2 * i] = packHalf2x16(vec2(values[4 * i], values[second]));
      packed[2 * i + 1] = packHalf2x16(vec2(values[third], values[4 * i + 3]));
    }
    result.at[(token * padded + column) / 8] = packed;
  }
}
