// The first half of sample: bias, penalties, mask and temperature for a stretch of a row's vocabulary, and the best token of
// the stretch. Rows that take the best token anyway (temperature 0) leave no scores behind. Each workgroup takes a stretch.
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#include "include/memory.glsl"
#include "include/fault.glsl"
#include "include/sample.glsl"

layout(local_size_x = 256) in;

layout(push_constant, scalar) uniform Arguments {
  FloatsIn logits;
  FloatsIn parameters;
  IntsIn controls;
  IntsIn biasIds;
  FloatsIn biasValues;
  IntsIn history;
  // Null: all are allowed.
  WordsIn mask;
  // [rows, vocabulary], where a row draws.
  Floats scores;
  // [rows, stretches, 2]: score and id bits of the best token; id -1 where there is none, `noNumbers` where logits are none.
  Floats best;
  // The distribution, which is zeroed here; null if the op does not return it.
  Floats probabilities;
  Faults faults;
  uint vocabulary;
  uint biases;
  uint historyRows;
  uint capacity;
  uint hasMask;
  uint hasProbabilities;
};

const uint perInvocation = stretchTokens / 256u;

// For each token of the stretch, how often the history behind the prompt has it; the highest bit, whether the history has it.
shared uint occurrences[stretchTokens];
shared float topOfSubgroup[64];
shared int idOfSubgroup[64];
shared uint spoiled;

void main() {
  uint lane = gl_LocalInvocationID.x;
  uint row = gl_WorkGroupID.y;
  uint firstId = gl_WorkGroupID.x * stretchTokens;
  uint parameter = row * parameterColumns;
  uint control = row * controlColumns;
  float temperature = parameters.at[parameter + TEMPERATURE];
  bool greedy = temperature <= 0.0;

  if (lane == 0u) spoiled = 0u;
  barrier();
  precise float score[perInvocation];
  for (uint k = 0; k < perInvocation; ++k) {
    uint id = firstId + k * 256u + lane;
    score[k] = id < vocabulary ? logits.at[row * vocabulary + id] : -infinity;
    if (isNaN(score[k]) || score[k] == infinity) spoiled = 1u;
  }
  for (uint i = 0; i < biases; ++i) {
    uint id = uint(biasIds.at[row * biases + i]);
    if (id >= vocabulary && lane == 0u) noteFault(faults, FAULT_LOGIT_BIAS, id, vocabulary);
    if (id - firstId >= stretchTokens || (id & 255u) != lane) continue;
    for (uint k = 0; k < perInvocation; ++k) {
      if (id == firstId + k * 256u + lane) score[k] += biasValues.at[row * biases + i];
    }
  }

  float repetition = parameters.at[parameter + REPETITION];
  float presence = parameters.at[parameter + PRESENCE];
  float frequency = parameters.at[parameter + FREQUENCY];
  uint historyRow = uint(controls.at[control + HISTORY_ROW]);
  uint seen = uint(controls.at[control + HISTORY_LENGTH]);
  uint promptLength = uint(controls.at[control + PROMPT_LENGTH]);
  if (historyRow >= historyRows || seen > capacity || promptLength > 0x7fffffffu) {
    noteFault(faults, FAULT_HISTORY, historyRow, historyRows);
    seen = 0u;
  }
  if (seen > 0u && (repetition != 1.0 || presence != 0.0 || frequency != 0.0)) {
    for (uint k = 0; k < perInvocation; ++k) occurrences[k * 256u + lane] = 0u;
    barrier();
    for (uint i = lane; i < seen; i += 256u) {
      uint at = uint(history.at[historyRow * capacity + i]) - firstId;
      if (at >= stretchTokens) continue;
      if (i >= promptLength) atomicAdd(occurrences[at], 1u);
      atomicOr(occurrences[at], 0x80000000u);
    }
    barrier();
    for (uint k = 0; k < perInvocation; ++k) {
      uint found = occurrences[k * 256u + lane];
      if (found == 0u) continue;
      score[k] = score[k] > 0.0 ? score[k] / repetition : score[k] * repetition;
      uint count = found & 0x7fffffffu;
      if (count > 0u) score[k] -= fma(frequency, float(count), presence);
    }
  }

  float top = -infinity;
  int topId = -1;
  for (uint k = 0; k < perInvocation; ++k) {
    uint id = firstId + k * 256u + lane;
    if (id >= vocabulary) break;
    bool allowed = true;
    if (hasMask != 0u) allowed = ((mask.at[row * ((vocabulary + 31u) / 32u) + (id >> 5)] >> (id & 31u)) & 1u) != 0u;
    precise float value = score[k];
    if (temperature > 0.0) value = value / temperature;
    // Forbidden tokens and minus infinity are never chosen.
    if (!allowed || !(score[k] > -infinity) || isNaN(value)) value = -infinity;
    if (value > top) {
      top = value;
      topId = int(id);
    }
    if (!greedy) scores.at[row * vocabulary + id] = value;
    if (hasProbabilities != 0u) probabilities.at[row * vocabulary + id] = 0.0;
  }

  // The best of the stretch; of equal scores the lowest id.
  float subgroupTop = subgroupMax(top);
  int subgroupId = subgroupMin(topId >= 0 && top == subgroupTop ? topId : 0x7fffffff);
  if (subgroupElect()) {
    topOfSubgroup[gl_SubgroupID] = subgroupTop;
    idOfSubgroup[gl_SubgroupID] = subgroupId;
  }
  barrier();
  if (lane == 0u) {
    for (uint i = 1; i < gl_NumSubgroups; ++i) {
      if (topOfSubgroup[i] > subgroupTop || (topOfSubgroup[i] == subgroupTop && idOfSubgroup[i] < subgroupId)) {
        subgroupTop = topOfSubgroup[i];
        subgroupId = idOfSubgroup[i];
      }
    }
    uint index = 2u * (row * gl_NumWorkGroups.x + gl_WorkGroupID.x);
    best.at[index] = subgroupTop;
    best.at[index + 1u] = intBitsToFloat(spoiled != 0u ? noNumbers : subgroupId == 0x7fffffff ? -1 : subgroupId);
  }
}
