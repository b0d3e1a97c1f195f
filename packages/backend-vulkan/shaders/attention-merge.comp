// Merges the sections of attention-row.comp in order of keys, with a workgroup for each row and query head. The factors of all
// sections are found first, each by an invocation of its own, so that only products depend on one another.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "include/memory.glsl"
#include "include/function.glsl"
#include "include/attention.glsl"

layout(local_size_x_id = 0) in;

layout(push_constant, scalar) uniform Arguments {
  // [lines, sections, headDim], then (m, l) [lines, sections, 2].
  FloatsIn partials;
  Floats result;
  uint lines;
  uint headDim;
  uint sections;
};

const uint chunk = 128u;
const uint elementsAtOnce = 4u;
shared float tops[chunk];
shared float sums[chunk];
shared vec2 factors[chunk];

void main() {
  uint line = gl_WorkGroupID.x + gl_WorkGroupID.y * gl_NumWorkGroups.x;
  if (line >= lines) return;
  uint lane = gl_LocalInvocationID.x;
  uint numbersStart = lines * sections * headDim;
  for (uint firstElement = 0; firstElement < headDim; firstElement += elementsAtOnce * gl_WorkGroupSize.x) {
    float merged = -infinity;
    float mergedSum = 0.0;
    precise float values[elementsAtOnce];
    for (uint j = 0; j < elementsAtOnce; ++j) values[j] = 0.0;
    for (uint first = 0; first < sections; first += chunk) {
      uint count = min(chunk, sections - first);
      barrier();
      for (uint i = lane; i < count; i += gl_WorkGroupSize.x) {
        uint index = numbersStart + 2u * (line * sections + first + i);
        tops[i] = partials.at[index];
        sums[i] = partials.at[index + 1u];
      }
      barrier();
      for (uint i = lane; i < count; i += gl_WorkGroupSize.x) {
        float before = merged;
        for (uint k = 0; k < i; ++k) {
          if (!isNothing(sums[k]) && tops[k] > before) before = tops[k];
        }
        float ignored = 0.0;
        factors[i] = isNothing(sums[i]) ? vec2(1.0, 0.0) : mergeSection(before, ignored, tops[i], sums[i]);
      }
      barrier();
      for (uint i = 0; i < count; ++i) {
        if (isNothing(sums[i])) continue;
        precise float sum = fma(mergedSum, factors[i].x, sums[i] * factors[i].y);
        mergedSum = sum;
        if (tops[i] > merged) merged = tops[i];
        uint start = (line * sections + first + i) * headDim;
        for (uint j = 0; j < elementsAtOnce; ++j) {
          uint element = firstElement + j * gl_WorkGroupSize.x + lane;
          if (element >= headDim) break;
          precise float value = fma(values[j], factors[i].x, partials.at[start + element] * factors[i].y);
          values[j] = value;
        }
      }
    }
    bool any = isAny(mergedSum);
    precise float inverse = 1.0 / mergedSum;
    for (uint j = 0; j < elementsAtOnce; ++j) {
      uint element = firstElement + j * gl_WorkGroupSize.x + lane;
      precise float value = values[j] * inverse;
      if (element < headDim) result.at[line * headDim + element] = any ? value : 0.0;
    }
  }
}
