// The second half of logProbabilities: the sum over all stretches, the named token, and the best ones, which are merged from
// those of the stretches in order. Each workgroup takes a row.
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#include "include/memory.glsl"
#include "include/function.glsl"
#include "include/fault.glsl"
#include "include/log-probabilities.glsl"
#include "include/logarithm.glsl"
#include "include/workgroup-sum.glsl"

layout(local_size_x = 256) in;

layout(push_constant, scalar) uniform Arguments {
  FloatsIn logits;
  IntsIn ids;
  // As log-probabilities-scan.comp leaves them.
  FloatsIn sums;
  WordsIn best;
  // [rows].
  Floats chosen;
  // [rows, top] each; null where `top` is 0.
  Ints topIds;
  Floats topValues;
  Faults faults;
  uint vocabulary;
  uint stretches;
  uint candidates;
  uint top;
};

// How many of each stretch's best tokens have been taken; `mostStretches` of src/kernel/log-probabilities.ts.
shared uint taken[2048];

void main() {
  uint lane = gl_LocalInvocationID.x;
  uint row = gl_WorkGroupID.x;
  uint rowStart = row * vocabulary;
  uint firstStretch = row * stretches;
  uint largestKey = 0u;
  for (uint i = lane; i < stretches; i += gl_WorkGroupSize.x) {
    largestKey = max(largestKey, rankKey(sums.at[2u * (firstStretch + i)]));
    taken[i] = 0u;
  }
  uint topKey = bestOfWorkgroup(largestKey, noToken).x;
  float largest = uintBitsToFloat((topKey & 0x80000000u) != 0u ? topKey & 0x7fffffffu : ~topKey);
  precise float sum = 0.0;
  for (uint i = lane; i < stretches; i += gl_WorkGroupSize.x) {
    float ownTop = sums.at[2u * (firstStretch + i)];
    float ownSum = sums.at[2u * (firstStretch + i) + 1u];
    // A stretch of minus infinities adds nothing.
    if (ownTop != -infinity) sum = fma(ownSum, exactExp(ownTop - largest), sum);
  }
  precise float logSum = exactLog(workgroupSum(sum));

  if (lane == 0u) {
    uint id = uint(ids.at[row]);
    if (id < vocabulary) {
      precise float value = logits.at[rowStart + id] - largest - logSum;
      chosen.at[row] = value;
    } else {
      // No token, which sample gives for logits that are no numbers, is not a fault.
      if (id != 0xffffffffu) noteFault(faults, FAULT_TOKEN_ID, id, vocabulary);
      chosen.at[row] = uintBitsToFloat(0x7fc00000u);
    }
  }

  for (uint rank = 0; rank < top; ++rank) {
    uint ownKey = 0u;
    uint ownId = noToken;
    for (uint i = lane; i < stretches; i += gl_WorkGroupSize.x) {
      if (taken[i] >= candidates) continue;
      uint id = best.at[(firstStretch + i) * candidates + taken[i]];
      if (id >= vocabulary) continue;
      uint key = rankKey(logits.at[rowStart + id]);
      if (key > ownKey) {
        ownKey = key;
        ownId = id;
      }
    }
    uint found = bestOfWorkgroup(ownKey, ownId).y;
    // A row with NaN may have fewer that can be ordered.
    if (found == noToken) found = 0u;
    uint stretch = found / stretchTokens;
    if (stretch % gl_WorkGroupSize.x == lane) taken[stretch] += 1u;
    if (lane == 0u) {
      precise float value = logits.at[rowStart + found] - largest - logSum;
      topIds.at[row * top + rank] = int(found);
      topValues.at[row * top + rank] = value;
    }
  }
}
