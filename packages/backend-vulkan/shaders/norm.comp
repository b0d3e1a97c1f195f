// The ops that need sums over a row: rmsNorm, with sums and a scale that follow it, matchRms, gaussianTopK. Each workgroup
// takes a row, and reads it again for the result, from the cache.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "include/memory.glsl"
#include "include/workgroup-sum.glsl"

layout(local_size_x_id = 0) in;
// As in src/kernel/norm.ts.
layout(constant_id = 1) const uint operation = 0;
#define RMS_NORM 0u
#define MATCH_RMS 1u
#define GAUSSIAN_TOP_K 2u

// Operations that follow rmsNorm in the same pass.
layout(constant_id = 2) const uint addends = 0;
layout(constant_id = 3) const bool scales = false;

layout(push_constant, scalar) uniform Arguments {
  FloatsIn x;
  // rmsNorm: the weight or null. matchRms: the reference. Else null.
  FloatsIn other;
  Floats result;
  // rmsNorm: what is added to the normed row, in this order, before it is multiplied by `scale`; or null.
  FloatsIn firstAddend;
  FloatsIn secondAddend;
  uint rows;
  uint features;
  // rmsNorm: epsilon, weight offset. matchRms: floor. gaussianTopK: deviations.
  float number;
  float offset;
  float scale;
  uint hasWeight;
};

void main() {
  uint row = gl_WorkGroupID.x + gl_WorkGroupID.y * gl_NumWorkGroups.x;
  if (row >= rows) return;
  uint start = row * features;
  precise vec2 sums = vec2(0.0);
  for (uint i = gl_LocalInvocationID.x; i < features; i += gl_WorkGroupSize.x) {
    float value = x.at[start + i];
    if (operation == GAUSSIAN_TOP_K) {
      sums.x += value;
    } else {
      sums.x = fma(value, value, sums.x);
    }
    if (operation == MATCH_RMS) {
      float wanted = other.at[start + i];
      sums.y = fma(wanted, wanted, sums.y);
    }
  }
  sums = workgroupSum(sums);
  precise float first = sums.x / float(features);

  precise float factor = 1.0;
  precise float cut = 0.0;
  if (operation == RMS_NORM) {
    factor = inversesqrt(first + number);
  } else if (operation == MATCH_RMS) {
    // Not the floor where the mean is NaN, as a compiler's maximum would have it.
    float least = isNaN(first) || first >= number ? first : number;
    factor = sqrt(sums.y / float(features)) * inversesqrt(least);
  } else {
    precise float squares = 0.0;
    for (uint i = gl_LocalInvocationID.x; i < features; i += gl_WorkGroupSize.x) {
      precise float distance = x.at[start + i] - first;
      squares = fma(distance, distance, squares);
    }
    precise float variance = workgroupSum(squares) / float(features);
    cut = fma(number, sqrt(variance), first);
  }

  for (uint i = gl_LocalInvocationID.x; i < features; i += gl_WorkGroupSize.x) {
    float value = x.at[start + i];
    precise float y;
    if (operation == GAUSSIAN_TOP_K) {
      y = value - cut;
      y = y > 0.0 || isNaN(y) ? y : 0.0;
    } else {
      y = value * factor;
      if (operation == RMS_NORM && hasWeight != 0u) y *= offset + other.at[i];
      if (addends > 0u) y += firstAddend.at[start + i];
      if (addends > 1u) y += secondAddend.at[start + i];
      if (scales) y *= scale;
    }
    result.at[start + i] = y;
  }
}
