// softmax(scale q k^T) v over a paged KV state, causal, grouped-query, ragged, for few rows: a workgroup takes one row, up
// to `heads` query heads of one KV head, and one split of the keys (include/attention.glsl tells the arithmetic).
//
// `keyLanes` neighbouring invocations share a key and score it for all heads; then `rowLanes` share a row of values, and
// each group of them makes one chain. Loads come in batches, before the first of a batch is used, and the first values are
// on their way before the scores are made. What a split gave goes to `partials`, unless there is only one; the workgroup
// that ends last merges the splits (`mergesHere`), or, where they are many, attention-merge.comp does.
//
// It is not a dense attention: encoders without a cache need another kernel.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "include/memory.glsl"
#include "include/function.glsl"
#include "include/fault.glsl"
#include "include/attention.glsl"
#include "include/attention-state.glsl"

layout(local_size_x = 256) in;
// Query heads that a workgroup takes, at most 8 and at most `keyLanes`.
layout(constant_id = 7) const uint heads = 8;
// At most `mergedHere` splits, merged by the last workgroup of a row and its heads.
layout(constant_id = 8) const bool mergesHere = false;
// Keys that a group of lanes loads at once: at most keyLanes, a power of two.
layout(constant_id = 9) const uint keysAtOnce = 4;

const uint lines = heads;
// Heads whose chains pass through shared memory at once.
const uint headsAtOnce = 1u + uint(heads > 1u);
// Scores and queries; afterwards chains of value sums.
const uint scoreVectors = heads * 65u;
const uint firstVectors = scoreVectors + heads * rowLanes * 2u;
const uint lastVectors = headsAtOnce * 512u;
const uint poolVectors = firstVectors * uint(firstVectors >= lastVectors) + lastVectors * uint(firstVectors < lastVectors);
shared vec4 pool[poolVectors];
#include "include/attention-weigh.glsl"

shared uint keyRows[splitKeys];

// A key's vectors of 8 elements in each of its lanes; keys of a group of lanes.
const uint keyVectors = (rowLanes + keyLanes - 1u) / keyLanes;
const uint keyGroups = 256u / keyLanes;
const uint groupKeys = keyLanes;
const uint valuesAtOnce = chainKeys * uint(chainKeys < 8u) + 8u * uint(chainKeys >= 8u);
const uint queryLoads = (heads * paddedDim + 255u) / 256u;
// heads, rounded up to a power of two.
const uint headSlots = heads + uint(heads == 3u) + uint(heads > 4u) * (8u - heads);

// Splits that `mergesHere` can take.
const uint mergedHere = 64u;
const uint mergeSlots = uint(mergesHere) * heads * mergedHere + 1u;
shared vec2 mergeFactors[mergeSlots];
shared float mergeSums[mergeSlots];
shared float mergeTops[mergeSlots];

// Where (m, l) begin in `partials`.
uint numbersStart() {
  return rows * queryHeads * splits * headDim;
}

// One level of the tree that adds the chains of a score, for several heads: while there are as many heads as lanes, each
// half of the lanes goes on with half of the heads. Lane r ends with head r modulo headSlots.
void addChains(inout float dots[8], uint distance) {
  bool upper = (gl_SubgroupInvocationID & distance) != 0u;
  if (headSlots >= 2u * distance) {
    [[unroll]] for (uint h = 0; h < distance; ++h) {
      float mine = upper ? dots[h + distance] : dots[h];
      float theirs = upper ? dots[h] : dots[h + distance];
      precise float sum = mine + subgroupShuffleXor(theirs, distance);
      dots[h] = sum;
    }
  } else {
    [[unroll]] for (uint h = 0; h < headSlots; ++h) {
      precise float sum = dots[h] + subgroupShuffleXor(dots[h], distance);
      dots[h] = sum;
    }
  }
}

// Scores of the keys batch * keysAtOnce and on of this group of lanes.
void scoreKeys(uint lane, uint batch) {
  uint keyLane = lane % keyLanes;
  uint keyGroup = lane / keyLanes;
  Raw raws[keysAtOnce * keyVectors];
  [[unroll]] for (uint k = 0; k < keysAtOnce; ++k) {
    uint row = keyRows[(batch * keysAtOnce + k) * keyGroups + keyGroup];
    [[unroll]] for (uint v = 0; v < keyVectors; ++v) {
      raws[k * keyVectors + v] = loadRaw(row, v * keyLanes + keyLane);
    }
  }
  precise float dots[keysAtOnce][8];
  [[unroll]] for (uint k = 0; k < keysAtOnce; ++k) {
    [[unroll]] for (uint h = 0; h < 8u; ++h) dots[k][h] = 0.0;
  }
  [[unroll]] for (uint v = 0; v < keyVectors; ++v) {
    uint eighth = v * keyLanes + keyLane;
    if (eighth >= rowLanes) continue;
    vec4 low[keysAtOnce];
    vec4 high[keysAtOnce];
    [[unroll]] for (uint k = 0; k < keysAtOnce; ++k) decodeRaw(raws[k * keyVectors + v], low[k], high[k]);
    [[unroll]] for (uint h = 0; h < heads; ++h) {
      vec4 q = pool[scoreVectors + h * rowLanes * 2u + 2u * eighth];
      vec4 r = pool[scoreVectors + h * rowLanes * 2u + 2u * eighth + 1u];
      [[unroll]] for (uint k = 0; k < keysAtOnce; ++k) {
        precise float dot = dots[k][h];
        dot = fma(q.x, low[k].x, dot);
        dot = fma(q.y, low[k].y, dot);
        dot = fma(q.z, low[k].z, dot);
        dot = fma(q.w, low[k].w, dot);
        dot = fma(r.x, high[k].x, dot);
        dot = fma(r.y, high[k].y, dot);
        dot = fma(r.z, high[k].z, dot);
        dot = fma(r.w, high[k].w, dot);
        dots[k][h] = dot;
      }
    }
  }
  [[unroll]] for (uint k = 0; k < keysAtOnce; ++k) {
    if (keyLanes >= 8u) addChains(dots[k], 4u);
    if (keyLanes >= 4u) addChains(dots[k], 2u);
    if (keyLanes >= 2u) addChains(dots[k], 1u);
    if (keyLane < heads) setScore(keyLane, (batch * keysAtOnce + k) * keyGroups + keyGroup, finished(dots[k][0]));
  }
}

// One split of `ownHeads` lines from `firstLine` on; `inSplit` is not empty, and keyRows are not yet visible to all.
void attendSplit(uint lane, uint firstLine, uint ownHeads, ivec2 inSplit) {
  uint partialLine = firstLine * splits + gl_WorkGroupID.x;
  float asked[queryLoads];
  [[unroll]] for (uint i = 0; i < queryLoads; ++i) {
    uint index = i * 256u + lane;
    uint head = index / paddedDim;
    uint element = index % paddedDim;
    bool there = head < ownHeads && element < headDim;
    asked[i] = there ? query.at[(firstLine + head) * headDim + element] : 0.0;
  }
  [[unroll]] for (uint i = 0; i < queryLoads; ++i) {
    uint index = i * 256u + lane;
    if (index < heads * paddedDim) pool[scoreVectors + (index >> 2)][index & 3u] = asked[i];
  }
  barrier();

  uint rowLane = lane % rowLanes;
  uint chain = lane / rowLanes;
  uint valueOffset = kvHeads * blockTokens;
  Raw raws[valuesAtOnce];
  [[unroll]] for (uint k = 0; k < valuesAtOnce; ++k) {
    uint at = keyRows[k * chains + chain];
    raws[k] = loadRaw(at == noRow ? noRow : at + valueOffset, rowLane);
  }

  for (uint batch = 0; batch < groupKeys / keysAtOnce; ++batch) {
    if (int(batch * keysAtOnce * keyGroups) > inSplit.y) break;
    scoreKeys(lane, batch);
  }
  barrier();
  for (uint h = gl_SubgroupID; h < heads; h += gl_NumSubgroups) weighLine(h, inSplit);
  barrier();

  precise vec4 lowSums[8];
  precise vec4 highSums[8];
  [[unroll]] for (uint h = 0; h < heads; ++h) {
    lowSums[h] = vec4(0.0);
    highSums[h] = vec4(0.0);
  }
  for (uint first = 0; first < chainKeys; first += valuesAtOnce) {
    if (int(first * chains) > inSplit.y) break;
    if (first > 0u) {
      [[unroll]] for (uint k = 0; k < valuesAtOnce; ++k) {
        uint at = keyRows[(first + k) * chains + chain];
        raws[k] = loadRaw(at == noRow ? noRow : at + valueOffset, rowLane);
      }
    }
    [[unroll]] for (uint k = 0; k < valuesAtOnce; ++k) {
      vec4 low, high;
      decodeRaw(raws[k], low, high);
      uint place = chain * chainKeys + first + k;
      [[unroll]] for (uint h = 0; h < heads; ++h) {
        vec4 weight = vec4(pool[h * lineVectors + (place >> 2)][place & 3u]);
        lowSums[h] = fma(weight, low, lowSums[h]);
        highSums[h] = fma(weight, high, highSums[h]);
      }
    }
  }

  // The chains of some heads, added in order.
  [[unroll]] for (uint h = 0; h < heads; h += headsAtOnce) {
    barrier();
    [[unroll]] for (uint i = 0; i < headsAtOnce; ++i) {
      if (h + i >= heads) continue;
      pool[i * 512u + lane] = lowSums[h + i];
      pool[i * 512u + 256u + lane] = highSums[h + i];
    }
    barrier();
    for (uint index = lane; index < headsAtOnce * headDim; index += 256u) {
      uint i = index / headDim;
      uint d = index % headDim;
      if (h + i >= ownHeads) break;
      uint at = i * 512u + (d >> 2 & 1u) * 256u + (d >> 3);
      precise float sum = 0.0;
      for (uint c = 0; c < chains; c += 4u) {
        [[unroll]] for (uint k = 0; k < 4u; ++k) sum = sum + pool[at + (c + k) * rowLanes][d & 3u];
      }
      if (splits == 1u) {
        precise float value = sum * (1.0 / splitSum[h + i]);
        result.at[(firstLine + h + i) * headDim + d] = value;
      } else {
        partials.at[(partialLine + (h + i) * splits) * headDim + d] = sum;
      }
    }
  }
  if (splits > 1u && lane < ownHeads) {
    uint index = numbersStart() + 2u * (partialLine + lane * splits);
    partials.at[index] = splitTop[lane];
    partials.at[index + 1u] = splitSum[lane];
  }
}

// The twin of attention-merge.comp, for few splits.
void mergeLines(uint lane, uint firstLine, uint ownHeads) {
  for (uint i = lane; i < ownHeads * splits; i += 256u) {
    uint index = i / splits * mergedHere + i % splits;
    uint numbers = numbersStart() + 2u * (firstLine * splits + i);
    mergeTops[index] = partials.at[numbers];
    mergeSums[index] = partials.at[numbers + 1u];
  }
  barrier();
  for (uint i = lane; i < ownHeads * splits; i += 256u) {
    uint start = i / splits * mergedHere;
    uint index = start + i % splits;
    float before = -infinity;
    for (uint k = start; k < index; ++k) {
      if (mergeSums[k] != nothingSeen && mergeTops[k] > before) before = mergeTops[k];
    }
    float ignored = 0.0;
    float sum = mergeSums[index];
    mergeFactors[index] = sum == nothingSeen ? vec2(1.0, 0.0) : mergeSplit(before, ignored, mergeTops[index], sum);
  }
  barrier();
  for (uint i = lane; i < ownHeads * headDim; i += 256u) {
    uint own = i / headDim;
    uint start = (firstLine + own) * splits * headDim + i % headDim;
    float mergedSum = 0.0;
    float merged = 0.0;
    for (uint first = 0; first < splits; first += 8u) {
      float parts[8];
      [[unroll]] for (uint k = 0; k < 8u; ++k) {
        parts[k] = first + k < splits ? partials.at[start + (first + k) * headDim] : 0.0;
      }
      [[unroll]] for (uint k = 0; k < 8u; ++k) {
        if (first + k >= splits) continue;
        uint index = own * mergedHere + first + k;
        if (mergeSums[index] == nothingSeen) continue;
        precise float sum = fma(mergedSum, mergeFactors[index].x, mergeSums[index] * mergeFactors[index].y);
        precise float value = fma(merged, mergeFactors[index].x, parts[k] * mergeFactors[index].y);
        mergedSum = sum;
        merged = value;
      }
    }
    precise float inverse = 1.0 / mergedSum;
    precise float value = merged * inverse;
    result.at[firstLine * headDim + i] = mergedSum != 0.0 ? value : 0.0;
  }
}

shared uint isLast;

void main() {
  // Neighbours in a subgroup share keys.
  uint lane = gl_SubgroupID * gl_SubgroupSize + gl_SubgroupInvocationID;
  uint row = gl_WorkGroupID.z;
  uint group = queryHeads / kvHeads;
  uint chunks = (group + heads - 1u) / heads;
  uint kvHead = gl_WorkGroupID.y / chunks;
  uint headInGroup = (gl_WorkGroupID.y - kvHead * chunks) * heads;
  uint ownHeads = min(heads, group - headInGroup);
  uint firstLine = row * queryHeads + kvHead * group + headInGroup;

  // In a decode step row i is sequence i, and with one sequence all rows are its: what that guess needs is read at once.
  uint guess = min(row, sequences - 1u);
  int sequence = -1;
  int position = positions.at[row];
  int last = reachOf(row);
  int tableEntry = 0;
  uint split = gl_WorkGroupID.x;
  if (sequences > 0u) {
    int begin = starts.at[guess];
    int end = guess + 1u < sequences ? starts.at[guess + 1u] : int(rows);
    if (hasWindow) split += uint(spanOf(position, last).x) / splitKeys;
    uint column = min((split * splitKeys + lane) / blockTokens, tableColumns - 1u);
    if (tableColumns > 0u) tableEntry = blocks.at[guess * tableColumns + column];
    if (begin >= 0 && begin <= int(row) && end > int(row)) {
      sequence = int(guess);
    } else {
      sequence = sequenceOf(row);
      if (sequence >= 0 && tableColumns > 0u) tableEntry = blocks.at[uint(sequence) * tableColumns + column];
    }
  }
  ivec2 span = spanOf(position, last);
  int firstKey = int(split * splitKeys);
  ivec2 inSplit = ivec2(max(span.x - firstKey, 0), min(span.y - firstKey, 255));
  if (inSplit.x <= inSplit.y && sequence >= 0) {
    bool sees = int(lane) >= inSplit.x && int(lane) <= inSplit.y;
    keyRows[lane] = sees ? keyRow(tableEntry, kvHead, uint(firstKey) + lane) : noRow;
    attendSplit(lane, firstLine, ownHeads, inSplit);
  } else if (splits == 1u) {
    for (uint i = lane; i < ownHeads * headDim; i += 256u) result.at[firstLine * headDim + i] = 0.0;
  } else if (lane < ownHeads) {
    uint line = (firstLine + lane) * splits + gl_WorkGroupID.x;
    partials.at[numbersStart() + 2u * line] = -infinity;
    partials.at[numbersStart() + 2u * line + 1u] = nothingSeen;
  }
  if (row == 0u && gl_WorkGroupID.x == 0u && gl_WorkGroupID.y == 0u) checkStarts();
  if (!mergesHere) return;

  // What this workgroup has written is there before it counts itself; who counts last reads what the others wrote.
  memoryBarrierBuffer();
  barrier();
  if (lane == 0u) {
    uint counter = row * gl_NumWorkGroups.y + gl_WorkGroupID.y;
    bool ended = atomicAdd(counters.at[counter], 1u) == splits - 1u;
    if (ended) counters.at[counter] = 0u;
    isLast = uint(ended);
  }
  barrier();
  if (isLast == 0u) return;
  memoryBarrierBuffer();
  mergeLines(lane, firstLine, ownHeads);
}
