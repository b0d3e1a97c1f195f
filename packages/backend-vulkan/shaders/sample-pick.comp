// The second half of sample: top-k, top-p, min-p, typical, the draw, and the history. Each workgroup takes a row.
//
// Nothing is sorted. A filter keeps a token if its (key, id) is not beyond a cut, and the cut is found by histograms: first
// over 2,048 equal bins of the distance to the best score, then, within one bin, over the bits of the key. Weights
// exp(score - top) are summed as integers of 2^-31, so that sums are exact and do not depend on their order; smaller ones (21
// nats from the best) have no weight, which is less than 24 bits of a draw can tell.
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#include "include/memory.glsl"
#include "include/function.glsl"
#include "include/philox.glsl"
#include "include/sample.glsl"
#include "include/wide.glsl"
#include "include/workgroup-sum.glsl"

layout(local_size_x = 512) in;

layout(push_constant, scalar) uniform Arguments {
  FloatsIn parameters;
  IntsIn controls;
  Ints history;
  FloatsIn scores;
  FloatsIn best;
  Floats probabilities;
  Ints ids;
  uint vocabulary;
  uint stretches;
  uint historyRows;
  uint capacity;
  uint hasProbabilities;
};

const uint invocations = 512u;
const uint bins = 2048u;
const uint binsPerInvocation = bins / invocations;

shared uint binLow[bins];
shared uint binHigh[bins];
shared uvec2 scanned[invocations];
shared float tops[invocations];
shared int topIds[invocations];
// A number that one invocation finds for all.
shared uint foundBin;
shared uvec2 foundBefore;
shared int foundId;
shared uint spoiled;

// The row's scores, and the best of those kept: weights are relative to it.
uint rowStart;
float top;
// Kept by score: key below `scoreCut`, or equal to it and the id at most `scoreCutId`. Keys ascend as scores descend.
uint scoreCut = 0xffffffffu;
int scoreCutId = 0x7fffffff;
// Kept by min-p: weight at least so much, or the best token.
float leastWeight = 0.0;
int topId;
// Kept by typical: distance to the mean surprise, likewise.
bool typical = false;
float meanDistance = 0.0;
float typicalTop = 0.0;
uint typicalCut = 0xffffffffu;
int typicalCutId = 0x7fffffff;

// The key by which a filter orders tokens, and the number that it sums.
#define COUNT_BY_SCORE 0u
#define WEIGHT_BY_SCORE 1u
#define WEIGHT_BY_SHIFT 2u

uint scoreKey(float score) {
  uint bits = floatBitsToUint(score);
  // -0 is equal to 0.
  if (bits == 0x80000000u) bits = 0u;
  return (bits & 0x80000000u) != 0u ? bits : ~(bits | 0x80000000u);
}

float weightOf(float score) {
  return exactExp(score - top);
}

float shiftOf(float score) {
  precise float shift = abs((typicalTop - score) - meanDistance);
  return shift;
}

bool isKept(float score, int id) {
  if (!(score > -infinity)) return false;
  uint key = scoreKey(score);
  if (key > scoreCut || (key == scoreCut && id > scoreCutId)) return false;
  if (leastWeight > 0.0 && id != topId && exactExp(score - typicalTop) < leastWeight) return false;
  if (typical) {
    uint shift = floatBitsToUint(shiftOf(score));
    if (shift > typicalCut || (shift == typicalCut && id > typicalCutId)) return false;
  }
  return true;
}

uvec2 amountOf(uint what, float score) {
  if (what == COUNT_BY_SCORE) return uvec2(1u, 0u);
  return uvec2(uint(weightOf(score) * 2147483648.0), 0u);
}

uint keyOf(uint what, float score) {
  return what == WEIGHT_BY_SHIFT ? floatBitsToUint(shiftOf(score)) : scoreKey(score);
}

// Equal bins of 1/64, which are in the order of the keys too.
uint binOf(uint what, float score) {
  float distance_ = what == WEIGHT_BY_SHIFT ? shiftOf(score) : typicalTop - score;
  return uint(min(distance_ * 64.0, float(bins - 1u)));
}

// Inclusive sums of the numbers of the invocations, in their order (Hillis and Steele 1986).
uvec2 inclusiveScan(uvec2 amount) {
  uint lane = gl_LocalInvocationID.x;
  barrier();
  scanned[lane] = amount;
  barrier();
  for (uint reach = 1u; reach < invocations; reach <<= 1) {
    uvec2 sum = scanned[lane];
    if (lane >= reach) sum = wideAdd(sum, scanned[lane - reach]);
    barrier();
    scanned[lane] = sum;
    barrier();
  }
  return scanned[lane];
}

// The sum over all kept tokens.
uvec2 totalOf(uint what) {
  uvec2 sum = uvec2(0u);
  for (uint id = gl_LocalInvocationID.x; id < vocabulary; id += invocations) {
    float score = scores.at[rowStart + id];
    if (isKept(score, int(id))) sum = wideAdd(sum, amountOf(what, score));
  }
  inclusiveScan(sum);
  return scanned[invocations - 1u];
}

// The first kept token, by ids, at which the sum reaches `target` (> 0); of those with `key` alone if `oneKey`. -1: none.
int firstReaching(uint what, uvec2 target, bool oneKey, uint key) {
  uint lane = gl_LocalInvocationID.x;
  // Sums of `invocations` stretches, each by one subgroup; then the one in which it happens, a token an invocation.
  uint stretch = (vocabulary + invocations - 1u) / invocations;
  barrier();
  for (uint i = gl_SubgroupID; i < invocations; i += gl_NumSubgroups) {
    uvec2 sum = uvec2(0u);
    uint end = min(vocabulary, (i + 1u) * stretch);
    for (uint id = i * stretch + gl_SubgroupInvocationID; id < end; id += gl_SubgroupSize) {
      float score = scores.at[rowStart + id];
      if (isKept(score, int(id)) && (!oneKey || keyOf(what, score) == key)) sum = wideAdd(sum, amountOf(what, score));
    }
    sum = wideSubgroupAdd(sum);
    if (subgroupElect()) scanned[i] = sum;
  }
  barrier();
  uvec2 own = scanned[lane];
  uvec2 through = inclusiveScan(own);
  uvec2 before = wideSubtract(through, own);
  if (lane == 0u) {
    foundBin = invocations;
    foundId = -1;
  }
  barrier();
  if (!wideLess(through, target) && wideLess(before, target)) {
    foundBin = lane;
    foundBefore = before;
  }
  barrier();
  if (foundBin == invocations) return -1;
  uint firstId = foundBin * stretch;
  uint end = min(vocabulary, firstId + stretch);
  uvec2 passed = foundBefore;
  for (uint first = firstId; first < end; first += invocations) {
    uint id = first + lane;
    own = uvec2(0u);
    if (id < end) {
      float score = scores.at[rowStart + id];
      if (isKept(score, int(id)) && (!oneKey || keyOf(what, score) == key)) own = amountOf(what, score);
    }
    through = wideAdd(passed, inclusiveScan(own));
    before = wideSubtract(through, own);
    if (!wideLess(through, target) && wideLess(before, target)) foundId = int(id);
    passed = wideAdd(passed, scanned[invocations - 1u]);
    barrier();
  }
  return foundId;
}

// The key at which the sum over kept tokens, in order of keys, reaches `target` (> 0), and what is wanted of the tokens that
// have this key. All bits set: it is never reached.
uint keyReaching(uint what, inout uvec2 target) {
  uint lane = gl_LocalInvocationID.x;
  uint chosenBin = 0u;
  uint prefix = 0u;
  for (uint pass = 0; pass < 4u; ++pass) {
    // After the equal bins: 11, 11 and 10 bits of the key.
    uint shift = pass == 1u ? 21u : pass == 2u ? 10u : 0u;
    uint digitMask = pass == 3u ? 1023u : 2047u;
    barrier();
    for (uint i = lane; i < bins; i += invocations) {
      binLow[i] = 0u;
      binHigh[i] = 0u;
    }
    if (lane == 0u) foundBin = bins;
    barrier();
    for (uint id = lane; id < vocabulary; id += invocations) {
      float score = scores.at[rowStart + id];
      if (!isKept(score, int(id))) continue;
      uint bin = binOf(what, score);
      if (pass > 0u) {
        if (bin != chosenBin) continue;
        uint key = keyOf(what, score);
        // Bits above this pass's digit are those chosen before; of the first digit there are none.
        if (pass > 1u && key >> (pass == 2u ? 21u : 10u) != prefix) continue;
        bin = (key >> shift) & digitMask;
      }
      uint amount = amountOf(what, score).x;
      uint old = atomicAdd(binLow[bin], amount);
      if (old + amount < old) atomicAdd(binHigh[bin], 1u);
    }
    barrier();
    uvec2 sum = uvec2(0u);
    for (uint i = 0; i < binsPerInvocation; ++i) {
      uint bin = lane * binsPerInvocation + i;
      sum = wideAdd(sum, uvec2(binLow[bin], binHigh[bin]));
    }
    uvec2 before = wideSubtract(inclusiveScan(sum), sum);
    for (uint i = 0; i < binsPerInvocation; ++i) {
      uint bin = lane * binsPerInvocation + i;
      uvec2 through = wideAdd(before, uvec2(binLow[bin], binHigh[bin]));
      if (!wideLess(through, target) && wideLess(before, target)) {
        foundBin = bin;
        foundBefore = before;
      }
      before = through;
    }
    barrier();
    if (foundBin == bins) return 0xffffffffu;
    target = wideSubtract(target, foundBefore);
    if (pass == 0u) {
      chosenBin = foundBin;
    } else {
      prefix = pass == 3u ? (prefix << 10) | foundBin : (prefix << 11) | foundBin;
    }
  }
  return prefix;
}

// f as a fraction of 2^32; f in [0, 1).
uint fractionOf(float f) {
  return uint(f * 4294967296.0);
}

// The best token among those kept, and its score: all invocations get them.
void findTop() {
  uint lane = gl_LocalInvocationID.x;
  float own = -infinity;
  for (uint id = lane; id < vocabulary; id += invocations) {
    float score = scores.at[rowStart + id];
    if (score > own && isKept(score, int(id))) own = score;
  }
  barrier();
  tops[lane] = own;
  barrier();
  for (uint half_ = invocations / 2u; half_ > 0u; half_ >>= 1) {
    if (lane < half_ && tops[lane + half_] > tops[lane]) tops[lane] = tops[lane + half_];
    barrier();
  }
  top = tops[0];
}

int draw(uint row) {
  uint parameter = row * parameterColumns;
  uint control = row * controlColumns;
  float topP = parameters.at[parameter + TOP_P];
  float minP = parameters.at[parameter + MIN_P];
  float typicalP = parameters.at[parameter + TYPICAL_P];
  int topK = controls.at[control + TOP_K];

  if (topK > 0 && uint(topK) < vocabulary) {
    uvec2 target = uvec2(uint(topK), 0u);
    scoreCut = keyReaching(COUNT_BY_SCORE, target);
  }
  if (topP < 1.0) {
    // The tail is dropped while its sum is at most (1 - p) of all: what is kept reaches the rest.
    uvec2 total = totalOf(WEIGHT_BY_SCORE);
    precise float dropped = 1.0 - topP;
    uvec2 tail = dropped >= 1.0 ? total : wideScale(total, fractionOf(dropped));
    uvec2 target = wideSubtract(total, tail);
    if (target == uvec2(0u)) target.x = 1u;
    uint cut = keyReaching(WEIGHT_BY_SCORE, target);
    if (cut != 0xffffffffu) {
      int cutId = firstReaching(WEIGHT_BY_SCORE, target, true, cut);
      scoreCut = cut;
      scoreCutId = cutId < 0 ? 0x7fffffff : cutId;
    }
  }
  if (minP > 0.0) leastWeight = minP;
  if (typicalP < 1.0) {
    // -log p of a token less the entropy is its distance to the best score less the mean distance.
    vec2 sums = vec2(0.0);
    for (uint id = gl_LocalInvocationID.x; id < vocabulary; id += invocations) {
      float score = scores.at[rowStart + id];
      if (!isKept(score, int(id))) continue;
      precise float weight = weightOf(score);
      sums += vec2(weight, weight * (top - score));
    }
    sums = workgroupSum(sums);
    meanDistance = sums.y / sums.x;
    uvec2 total = totalOf(WEIGHT_BY_SCORE);
    uvec2 target = typicalP > 0.0 ? wideScale(total, fractionOf(typicalP)) : uvec2(0u);
    if (target == uvec2(0u)) target.x = 1u;
    uint cut = keyReaching(WEIGHT_BY_SHIFT, target);
    if (cut != 0xffffffffu) {
      int cutId = firstReaching(WEIGHT_BY_SHIFT, target, true, cut);
      typical = true;
      typicalCut = cut;
      typicalCutId = cutId < 0 ? 0x7fffffff : cutId;
      // The best token may be gone: weights relative to what was lost would have few bits.
      findTop();
    }
  }

  uvec2 total = totalOf(WEIGHT_BY_SCORE);
  uint bits = uniformBitsAt(uint(controls.at[control + SEED_LOW]), uint(controls.at[control + SEED_HIGH]),
                            uint(controls.at[control + POSITION]));
  // The first token at which the sum exceeds the draw.
  uvec2 target = wideAdd(wideScale(total, bits << 8), uvec2(1u, 0u));
  int token = firstReaching(WEIGHT_BY_SCORE, target, false, 0u);
  if (hasProbabilities != 0u) {
    precise float all = wideFloat(total) * 4.656612873077393e-10;
    for (uint id = gl_LocalInvocationID.x; id < vocabulary; id += invocations) {
      float score = scores.at[rowStart + id];
      if (isKept(score, int(id))) probabilities.at[rowStart + id] = weightOf(score) / all;
    }
  }
  return token < 0 ? topId : token;
}

void main() {
  uint lane = gl_LocalInvocationID.x;
  uint row = gl_WorkGroupID.x;
  rowStart = row * vocabulary;
  if (lane == 0u) spoiled = 0u;
  barrier();

  // The best of all stretches; of equal scores the lowest id.
  float ownTop = -infinity;
  int ownId = 0x7fffffff;
  for (uint i = lane; i < stretches; i += invocations) {
    uint index = 2u * (row * stretches + i);
    float score = best.at[index];
    int id = floatBitsToInt(best.at[index + 1u]);
    if (id == noNumbers) spoiled = 1u;
    if (id >= 0 && score > ownTop) {
      ownTop = score;
      ownId = id;
    }
  }
  tops[lane] = ownTop;
  topIds[lane] = ownId;
  barrier();
  for (uint half_ = invocations / 2u; half_ > 0u; half_ >>= 1) {
    if (lane < half_) {
      float other = tops[lane + half_];
      int otherId = topIds[lane + half_];
      if (other > tops[lane] || (other == tops[lane] && otherId < topIds[lane])) {
        tops[lane] = other;
        topIds[lane] = otherId;
      }
    }
    barrier();
  }
  top = tops[0];
  typicalTop = top;
  topId = topIds[0];

  int token = topId;
  float temperature = parameters.at[row * parameterColumns + TEMPERATURE];
  if (spoiled != 0u || !(top > -infinity)) {
    if (lane == 0u) ids.at[row] = -1;
    return;
  }
  // A row with an infinite score has no distribution: its token is taken.
  if (temperature <= 0.0 || top == infinity) {
    if (lane == 0u && hasProbabilities != 0u) probabilities.at[rowStart + uint(token)] = 1.0;
  } else {
    token = draw(row);
  }
  if (lane == 0u) {
    ids.at[row] = token;
    uint control = row * controlColumns;
    uint historyRow = uint(controls.at[control + HISTORY_ROW]);
    uint length_ = uint(controls.at[control + HISTORY_LENGTH]);
    if (historyRow < historyRows && length_ < capacity) history.at[historyRow * capacity + length_] = token;
  }
}
