// The first half of logProbabilities. Each workgroup takes a stretch of a row's vocabulary, and finds the largest logit m, the
// sum of exp(logit - m), and the best tokens in order.
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#include "include/memory.glsl"
#include "include/function.glsl"
#include "include/log-probabilities.glsl"
#include "include/workgroup-sum.glsl"

layout(local_size_x = 256) in;

layout(push_constant, scalar) uniform Arguments {
  FloatsIn logits;
  // [rows, stretches, 2]: m, and the sum; of a stretch of minus infinities the sum is 0.
  Floats sums;
  // [rows, stretches, candidates]: ids of the best tokens, best first; noToken where there are no more.
  Words best;
  uint vocabulary;
  // Best tokens that are wanted of each stretch.
  uint candidates;
};

#define PER_INVOCATION 8u

void main() {
  uint lane = gl_LocalInvocationID.x;
  uint row = gl_WorkGroupID.y;
  uint stretch = row * gl_NumWorkGroups.x + gl_WorkGroupID.x;
  uint firstId = gl_WorkGroupID.x * stretchTokens + lane;
  float logit[PER_INVOCATION];
  uint key[PER_INVOCATION];
  uint largestKey = 0u;
  [[unroll]] for (uint k = 0; k < PER_INVOCATION; ++k) {
    uint id = firstId + k * 256u;
    logit[k] = id < vocabulary ? logits.at[row * vocabulary + id] : -infinity;
    key[k] = id < vocabulary ? rankKey(logit[k]) : 0u;
    largestKey = max(largestKey, key[k]);
  }
  uint topKey = bestOfWorkgroup(largestKey, noToken).x;
  float top = uintBitsToFloat((topKey & 0x80000000u) != 0u ? topKey & 0x7fffffffu : ~topKey);
  precise float sum = 0.0;
  if (top != -infinity) {
    [[unroll]] for (uint k = 0; k < PER_INVOCATION; ++k) {
      if (firstId + k * 256u < vocabulary) sum += exactExp(logit[k] - top);
    }
  }
  sum = workgroupSum(sum);
  if (lane == 0u) {
    sums.at[2u * stretch] = top;
    sums.at[2u * stretch + 1u] = sum;
  }

  for (uint rank = 0; rank < candidates; ++rank) {
    uint ownKey = 0u;
    uint ownId = noToken;
    [[unroll]] for (uint k = 0; k < PER_INVOCATION; ++k) {
      if (key[k] > ownKey) {
        ownKey = key[k];
        ownId = firstId + k * 256u;
      }
    }
    uint found = bestOfWorkgroup(ownKey, ownId).y;
    [[unroll]] for (uint k = 0; k < PER_INVOCATION; ++k) {
      if (firstId + k * 256u == found) key[k] = 0u;
    }
    if (lane == 0u) best.at[stretch * candidates + rank] = found;
  }
}
