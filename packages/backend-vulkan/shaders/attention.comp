// softmax(scale q k^T) v over a paged KV state [blocks, 2, kvHeads, blockTokens, headDim], causal, grouped-query, ragged, in
// two forms of the same arithmetic (include/attention.glsl):
//
// - TILE 0, few rows: a workgroup takes one row, up to 8 query heads of one KV head, and one split of the keys. An
//   invocation scores one key for all heads; then lanes take 8 elements of a value row each and groups of lanes take
//   neighbouring keys. What a split gave goes to `partials`, unless there is only one; the workgroup that ends last merges
//   the splits (`mergesHere`), or, where they are many, attention-merge.comp does.
// - TILE 1, many rows: a workgroup takes 16 lines (a line is one head of one row) that share a KV head, and all splits one
//   after the other. Keys and values pass through shared memory; scores, and sums of values, are tiles in registers.
//
// It is not a dense attention: encoders without a cache need another kernel.
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_buffer_reference_uvec2 : require
#include "include/memory.glsl"
#include "include/function.glsl"
#include "include/fault.glsl"
#include "include/attention.glsl"

layout(local_size_x = 256) in;
// constant_id 0 would be the workgroup's size, which is 256: one invocation a key of a split.
layout(constant_id = 1) const uint headDim = 128;
// Elements of a padded head over 8, a power of two: lanes that share a row.
layout(constant_id = 2) const uint rowLanes = 16;
// TILE 0: query heads that a workgroup takes, at most 8.
layout(constant_id = 3) const uint heads = 8;
// Rows of the state can be read 16 bytes at a time.
layout(constant_id = 4) const bool vectors = true;
layout(constant_id = 5) const bool hasWindow = false;
layout(constant_id = 6) const bool hasSoftcap = false;
// TILE 0: at most `mergedHere` splits, merged by the last workgroup of a row and its heads.
layout(constant_id = 7) const bool mergesHere = false;

#define STATE_F32 0
#define STATE_F16 1
#define STATE_BF16 2
#define STATE_Q8_0 3

#if STATE == STATE_F32
#define STORED FloatsIn
#elif STATE == STATE_Q8_0
#define STORED HalvesIn
#else
#define STORED HalvesIn
#endif

layout(buffer_reference, scalar, buffer_reference_align = 16) readonly buffer VectorsIn {
  uvec4 at[];
};

// What workgroups of one dispatch leave to each other.
layout(buffer_reference, scalar, buffer_reference_align = 4) coherent buffer SharedFloats {
  float at[];
};
layout(buffer_reference, scalar, buffer_reference_align = 4) coherent buffer SharedCounters {
  uint at[];
};

layout(push_constant, scalar) uniform Arguments {
  FloatsIn query;
  STORED state;
  IntsIn positions;
  IntsIn starts;
  IntsIn blocks;
  // Null: a query sees keys up to its own position.
  IntsIn reach;
  // [rows, query heads, headDim]: the result where there is one split or the form is TILE 1.
  Floats result;
  // [rows, query heads, splits, headDim], then (m, l) [rows, query heads, splits, 2]; null where there is one split.
  SharedFloats partials;
  // [rows, grid's heads]: workgroups that have ended, 0 before and after; null where nothing is merged here.
  SharedCounters counters;
  Faults faults;
  uint rows;
  uint queryHeads;
  uint kvHeads;
  uint sequences;
  uint tableColumns;
  uint poolBlocks;
  uint blockTokens;
  // No query sees a key at or beyond this position.
  uint keys;
  uint window;
  float scale;
  float cap;
  // Splits that TILE 0 has in its grid.
  uint splits;
};

const uint paddedDim = rowLanes * 8u;
// Keys of which one chain of value sums is made, and as many groups of lanes as there are chains in a split.
const uint chainKeys = rowLanes;
const uint laneGroups = 256u / rowLanes;
const uint noRow = 0xffffffffu;

#if TILE
const uint lines = 16u;
#else
const uint lines = heads;
#endif

// TILE 1: first a tile of keys, [4][256] vectors of 4 elements; then scores. TILE 0: scores.
#if TILE
shared vec4 pool[lines * scoreStride / 4u];
shared vec4 queryTile[4u * lines];
shared float valueTile[2048];
#else
shared float pool[lines * scoreStride];
shared vec4 queryLines[lines * paddedDim / 4u];
shared vec4 exchanged[512];
#endif
shared uint keyRows[256];
// By line and part of 16 keys: maxima, then sums.
shared float parts[lines * 16u];
shared float splitTop[lines];
shared float splitSum[lines];
// Keys of the split that a line sees, first and last, relative to the split; first > last where none.
shared ivec2 seen[lines];
shared int sharedSequence;

float scoreAt(uint index) {
#if TILE
  return pool[index >> 2][index & 3u];
#else
  return pool[index];
#endif
}

void setScore(uint index, float score) {
#if TILE
  pool[index >> 2][index & 3u] = score;
#else
  pool[index] = score;
#endif
}

// Elements 8 * eighth to 8 * eighth + 7 of a row of the state; 0 beyond the head.
void loadEight(uint row, uint eighth, out vec4 low, out vec4 high) {
  low = vec4(0.0);
  high = vec4(0.0);
#if STATE == STATE_Q8_0
  uint block = row * (headDim / 32u) + (eighth >> 2);
  if (8u * eighth >= headDim) return;
  float blockScale = unpackHalf2x16(uint(state.at[block * 17u])).x;
  uint first = block * 17u + 1u + 4u * (eighth & 3u);
  for (uint i = 0; i < 2; ++i) {
    int a = int(int16_t(state.at[first + i]));
    int b = int(int16_t(state.at[first + 2u + i]));
    low[2u * i] = float((a << 24) >> 24) * blockScale;
    low[2u * i + 1u] = float(a >> 8) * blockScale;
    high[2u * i] = float((b << 24) >> 24) * blockScale;
    high[2u * i + 1u] = float(b >> 8) * blockScale;
  }
#else
  if (vectors) {
    if (8u * eighth >= headDim) return;
#if STATE == STATE_F32
    VectorsIn at = VectorsIn(state);
    uint first = row * (headDim / 4u) + 2u * eighth;
    low = uintBitsToFloat(at.at[first]);
    // A row of f32 is whole vectors of 4, not of 8.
    if (8u * eighth + 4u < headDim) high = uintBitsToFloat(at.at[first + 1u]);
#else
    uvec4 bits = VectorsIn(state).at[row * (headDim / 8u) + eighth];
#if STATE == STATE_F16
    low = vec4(unpackHalf2x16(bits.x), unpackHalf2x16(bits.y));
    high = vec4(unpackHalf2x16(bits.z), unpackHalf2x16(bits.w));
#else
    low = uintBitsToFloat(uvec4(bits.x << 16, bits.x & 0xffff0000u, bits.y << 16, bits.y & 0xffff0000u));
    high = uintBitsToFloat(uvec4(bits.z << 16, bits.z & 0xffff0000u, bits.w << 16, bits.w & 0xffff0000u));
#endif
#endif
    return;
  }
  for (uint i = 0; i < 8; ++i) {
    uint element = 8u * eighth + i;
    if (element >= headDim) break;
    uint index = row * headDim + element;
#if STATE == STATE_F32
    float value = state.at[index];
#elif STATE == STATE_F16
    float value = unpackHalf2x16(uint(state.at[index])).x;
#else
    float value = uintBitsToFloat(uint(state.at[index]) << 16);
#endif
    if (i < 4u) {
      low[i] = value;
    } else {
      high[i - 4u] = value;
    }
  }
#endif
}

// The row of a key in the state, taken as rows of headDim elements; the value's lies kvHeads * blockTokens further.
uint keyRow(uint sequence, uint kvHead, uint position) {
  uint column = position / blockTokens;
  uint block = uint(blocks.at[sequence * tableColumns + column]);
  if (block >= poolBlocks) {
    noteFault(faults, FAULT_SLOT, block * blockTokens, poolBlocks);
    return noRow;
  }
  return (2u * block * kvHeads + kvHead) * blockTokens + (position - column * blockTokens);
}

// First and last key position that a row sees; the reference's attentionSpan.
ivec2 spanOf(uint row) {
  int position = positions.at[row];
  int last = uvec2(reach) != uvec2(0u) ? reach.at[row] : position;
  int limit = int(tableColumns * blockTokens);
  if (last >= limit) noteFault(faults, FAULT_BLOCK_TABLE, uint(last), tableColumns);
  last = min(last, min(limit, int(keys)) - 1);
  int first = hasWindow ? max(0, position - int(window) + 1) : 0;
  return ivec2(first, last);
}

// The sequence that a row belongs to: the last that does not begin after it. -1 before the first. All invocations call it.
int sequenceOf(uint row) {
  if (gl_LocalInvocationID.x == 0u) sharedSequence = -1;
  barrier();
  int found = -1;
  for (uint i = gl_LocalInvocationID.x; i < sequences; i += 256u) {
    int begin = starts.at[i];
    if (begin >= 0 && uint(begin) <= row) found = int(i);
    uint end = i + 1u < sequences ? uint(starts.at[i + 1u]) : rows;
    if (begin < 0 || uint(begin) > end || end > rows) noteFault(faults, FAULT_STARTS, uint(begin), rows);
  }
  if (found >= 0) atomicMax(sharedSequence, found);
  barrier();
  int sequence = sharedSequence;
  barrier();
  return sequence;
}

float finished(float dot) {
  precise float score = dot * scale;
  if (hasSoftcap) score = softcapped(score, cap);
  return score;
}

// Turns the scores of a split into weights, and finds each line's m and l. Needs scores and `seen`; all invocations call it.
void weigh() {
  uint line = gl_LocalInvocationID.x >> 4;
  uint part = gl_LocalInvocationID.x & 15u;
  bool works = line < lines;
  barrier();
  precise float top = -infinity;
  ivec2 span = works ? seen[line] : ivec2(1, 0);
  if (works) {
    for (uint i = 0; i < 16u; ++i) {
      uint key = 16u * part + i;
      float score = scoreAt(scoreIndex(line, key));
      if (int(key) >= span.x && int(key) <= span.y && score > top) top = score;
    }
    parts[line * 16u + part] = top;
  }
  barrier();
  if (works) {
    for (uint i = 0; i < 16u; ++i) {
      float other = parts[line * 16u + i];
      if (other > top) top = other;
    }
    if (part == 0u) splitTop[line] = top;
  }
  barrier();
  if (works) {
    precise float sum = 0.0;
    for (uint i = 0; i < 16u; ++i) {
      uint key = 16u * part + i;
      uint index = scoreIndex(line, key);
      precise float weight = 0.0;
      if (int(key) >= span.x && int(key) <= span.y) weight = exactExp(scoreAt(index) - top);
      sum += weight;
      setScore(index, weight);
    }
    parts[line * 16u + part] = sum;
  }
  barrier();
  if (works && part == 0u) {
    precise float sum = 0.0;
    for (uint i = 0; i < 16u; ++i) sum += parts[line * 16u + i];
    splitSum[line] = span.x <= span.y ? sum : nothingSeen;
  }
  barrier();
}

#if TILE == 0

// Splits that `mergesHere` can take: 16 invocations a line find their factors.
const uint mergedHere = 16u;

// Where (m, l) begin in `partials`.
uint numbersStart() {
  return rows * queryHeads * splits * headDim;
}

// One split of `ownHeads` lines from `firstLine` on; `inSplit` is not empty.
void attendSplit(uint firstLine, uint ownHeads, uint kvHead, uint sequence, int firstKey, ivec2 inSplit) {
  uint lane = gl_LocalInvocationID.x;
  uint partialLine = firstLine * splits + gl_WorkGroupID.x;
  if (lane < lines) seen[lane] = lane < ownHeads ? inSplit : ivec2(1, 0);
  for (uint i = lane; i < lines * paddedDim / 4u; i += 256u) {
    uint line = i / (paddedDim / 4u);
    uint element = 4u * (i - line * (paddedDim / 4u));
    vec4 value = vec4(0.0);
    for (uint k = 0; k < 4u; ++k) {
      if (line < ownHeads && element + k < headDim) value[k] = query.at[(firstLine + line) * headDim + element + k];
    }
    queryLines[i] = value;
  }
  uint rowOfKey = noRow;
  if (int(lane) >= inSplit.x && int(lane) <= inSplit.y) rowOfKey = keyRow(sequence, kvHead, uint(firstKey) + lane);
  keyRows[lane] = rowOfKey;
  barrier();

  // Scores: one key an invocation.
  precise float dots[8];
  for (uint h = 0; h < heads; ++h) dots[h] = 0.0;
  if (rowOfKey != noRow) {
    for (uint eighth = 0; eighth < (headDim + 7u) / 8u; ++eighth) {
      vec4 low, high;
      loadEight(rowOfKey, eighth, low, high);
      for (uint h = 0; h < heads; ++h) {
        vec4 q = queryLines[h * (paddedDim / 4u) + 2u * eighth];
        precise float dot = dots[h];
        dot = fma(q.x, low.x, dot);
        dot = fma(q.y, low.y, dot);
        dot = fma(q.z, low.z, dot);
        dot = fma(q.w, low.w, dot);
        q = queryLines[h * (paddedDim / 4u) + 2u * eighth + 1u];
        dot = fma(q.x, high.x, dot);
        dot = fma(q.y, high.y, dot);
        dot = fma(q.z, high.z, dot);
        dot = fma(q.w, high.w, dot);
        dots[h] = dot;
      }
    }
  }
  for (uint h = 0; h < heads; ++h) setScore(scoreIndex(h, lane), finished(dots[h]));
  weigh();

  // Sums of values: 8 elements a lane, `chainKeys` neighbouring keys a group of lanes.
  uint rowLane = lane & (rowLanes - 1u);
  uint laneGroup = lane / rowLanes;
  uint valueOffset = kvHeads * blockTokens;
  precise vec4 lowSums[8];
  precise vec4 highSums[8];
  for (uint h = 0; h < heads; ++h) {
    lowSums[h] = vec4(0.0);
    highSums[h] = vec4(0.0);
  }
  for (uint i = 0; i < chainKeys; ++i) {
    uint key = laneGroup * chainKeys + i;
    uint at = keyRows[key];
    if (at == noRow) continue;
    vec4 low, high;
    loadEight(at + valueOffset, rowLane, low, high);
    for (uint h = 0; h < heads; ++h) {
      vec4 weight = vec4(scoreAt(scoreIndex(h, key)));
      lowSums[h] = fma(weight, low, lowSums[h]);
      highSums[h] = fma(weight, high, highSums[h]);
    }
  }

  // The groups' sums of one head after the other, added in order of keys.
  for (uint h = 0; h < heads; ++h) {
    if (h >= ownHeads) break;
    barrier();
    exchanged[2u * lane] = lowSums[h];
    exchanged[2u * lane + 1u] = highSums[h];
    barrier();
    for (uint d = lane; d < headDim; d += 256u) {
      precise float sum = 0.0;
      for (uint g = 0; g < laneGroups; ++g) sum += exchanged[g * (paddedDim / 4u) + (d >> 2)][d & 3u];
      if (splits == 1u) {
        precise float value = sum * (1.0 / splitSum[h]);
        result.at[(firstLine + h) * headDim + d] = value;
      } else {
        partials.at[(partialLine + h * splits) * headDim + d] = sum;
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
void mergeLines(uint firstLine, uint ownHeads) {
  uint lane = gl_LocalInvocationID.x;
  uint head = lane / mergedHere;
  uint split = lane % mergedHere;
  if (head < ownHeads && split < splits) {
    uint numbers = numbersStart() + 2u * (firstLine + head) * splits;
    float before = -infinity;
    for (uint k = 0; k < split; ++k) {
      float top = partials.at[numbers + 2u * k];
      if (partials.at[numbers + 2u * k + 1u] != nothingSeen && top > before) before = top;
    }
    float sum = partials.at[numbers + 2u * split + 1u];
    float ignored = 0.0;
    vec2 both = vec2(1.0, 0.0);
    if (sum != nothingSeen) both = mergeSplit(before, ignored, partials.at[numbers + 2u * split], sum);
    exchanged[lane] = vec4(both, sum, 0.0);
  }
  barrier();
  for (uint i = lane; i < ownHeads * headDim; i += 256u) {
    uint own = i / headDim;
    uint start = (firstLine + own) * splits * headDim + i - own * headDim;
    float mergedSum = 0.0;
    float merged = 0.0;
    for (uint k = 0; k < splits; ++k) {
      vec4 factor = exchanged[own * mergedHere + k];
      if (factor.z == nothingSeen) continue;
      precise float sum = fma(mergedSum, factor.x, factor.z * factor.y);
      precise float value = fma(merged, factor.x, partials.at[start + k * headDim] * factor.y);
      mergedSum = sum;
      merged = value;
    }
    precise float inverse = 1.0 / mergedSum;
    precise float value = merged * inverse;
    result.at[firstLine * headDim + i] = mergedSum != 0.0 ? value : 0.0;
  }
}

void main() {
  uint lane = gl_LocalInvocationID.x;
  uint row = gl_WorkGroupID.z;
  uint group = queryHeads / kvHeads;
  uint chunks = (group + heads - 1u) / heads;
  uint kvHead = gl_WorkGroupID.y / chunks;
  uint headInGroup = (gl_WorkGroupID.y - kvHead * chunks) * heads;
  uint ownHeads = min(heads, group - headInGroup);
  uint firstLine = row * queryHeads + kvHead * group + headInGroup;

  ivec2 span = spanOf(row);
  int sequence = sequenceOf(row);
  uint split = gl_WorkGroupID.x + (hasWindow ? uint(span.x) / splitKeys : 0u);
  int firstKey = int(split * splitKeys);
  ivec2 inSplit = ivec2(max(span.x - firstKey, 0), min(span.y - firstKey, 255));
  if (inSplit.x <= inSplit.y && sequence >= 0) {
    attendSplit(firstLine, ownHeads, kvHead, uint(sequence), firstKey, inSplit);
  } else if (splits == 1u) {
    for (uint i = lane; i < ownHeads * headDim; i += 256u) result.at[firstLine * headDim + i] = 0.0;
  } else if (lane < ownHeads) {
    uint line = (firstLine + lane) * splits + gl_WorkGroupID.x;
    partials.at[numbersStart() + 2u * line] = -infinity;
    partials.at[numbersStart() + 2u * line + 1u] = nothingSeen;
  }
  if (!mergesHere) return;

  // What this workgroup has written is there before it counts itself; who counts last reads what the others wrote.
  memoryBarrierBuffer();
  barrier();
  if (lane == 0u) {
    uint counter = row * gl_NumWorkGroups.y + gl_WorkGroupID.y;
    bool last = atomicAdd(counters.at[counter], 1u) == splits - 1u;
    if (last) counters.at[counter] = 0u;
    sharedSequence = int(last);
  }
  barrier();
  if (sharedSequence == 0) return;
  memoryBarrierBuffer();
  mergeLines(firstLine, ownHeads);
}

#else

shared ivec2 spans[lines];
shared int sequencesOfLines[lines];
shared float merged[lines];
shared float mergedSum[lines];
shared vec2 factors[lines];
shared int lowest;
shared int highest;
shared uint hasNonFinite;

// Elements of a head that an invocation sums for each of 4 lines.
const uint ownElements = (paddedDim + 63u) / 64u;

void main() {
  uint lane = gl_LocalInvocationID.x;
  uint kvHead = gl_WorkGroupID.y;
  uint group = queryHeads / kvHeads;
  uint firstLine = gl_WorkGroupID.x * lines;
  uint allLines = rows * group;
  uint valueOffset = kvHeads * blockTokens;

  // Lines that an invocation works for: 4 neighbours. Of keys it takes every 64th, of the head's elements too.
  uint lineGroup = lane >> 6;
  uint column = lane & 63u;

  uint lastRow = (min(firstLine + lines, allLines) - 1u) / group;
  int firstSequence = sequenceOf(firstLine / group);
  int lastSequence = sequenceOf(lastRow);
  if (lane < lines) {
    uint line = firstLine + lane;
    int own = -1;
    if (line < allLines) {
      uint row = line / group;
      spans[lane] = spanOf(row);
      // The last sequence of the tile that does not begin after the row.
      for (int s = max(firstSequence, 0); s <= lastSequence; ++s) {
        int begin = starts.at[s];
        if (begin >= 0 && uint(begin) <= row) own = s;
      }
    }
    sequencesOfLines[lane] = own;
    merged[lane] = -infinity;
    mergedSum[lane] = 0.0;
  }

  precise float sums[4][8];
  for (uint l = 0; l < 4u; ++l) {
    for (uint j = 0; j < ownElements; ++j) sums[l][j] = 0.0;
  }

  for (int sequence = max(firstSequence, 0); sequence <= lastSequence; ++sequence) {
    barrier();
    if (lane == 0u) {
      lowest = 0x7fffffff;
      highest = -1;
    }
    barrier();
    if (lane < lines && sequencesOfLines[lane] == sequence && spans[lane].x <= spans[lane].y) {
      atomicMin(lowest, spans[lane].x);
      atomicMax(highest, spans[lane].y);
    }
    barrier();
    int from = lowest;
    int to = highest;
    if (from > to) continue;

    for (int split = from / int(splitKeys); split <= to / int(splitKeys); ++split) {
      int firstKey = split * int(splitKeys);
      int position = firstKey + int(lane);
      uint rowOfKey = noRow;
      if (position >= from && position <= to) rowOfKey = keyRow(uint(sequence), kvHead, uint(position));
      keyRows[lane] = rowOfKey;
      if (lane < lines) {
        ivec2 inSplit = ivec2(max(spans[lane].x - firstKey, 0), min(spans[lane].y - firstKey, 255));
        seen[lane] = sequencesOfLines[lane] == sequence ? inSplit : ivec2(1, 0);
      }

      // Scores of 4 lines and 4 keys an invocation, 16 elements of all keys and lines at a time.
      precise float dots[4][4];
      for (uint l = 0; l < 4u; ++l) {
        for (uint k = 0; k < 4u; ++k) dots[l][k] = 0.0;
      }
      for (uint sixteenth = 0; sixteenth < (headDim + 15u) / 16u; ++sixteenth) {
        vec4 tile[4] = vec4[](vec4(0.0), vec4(0.0), vec4(0.0), vec4(0.0));
        if (rowOfKey != noRow) {
          loadEight(rowOfKey, 2u * sixteenth, tile[0], tile[1]);
          loadEight(rowOfKey, 2u * sixteenth + 1u, tile[2], tile[3]);
        }
        vec4 own = vec4(0.0);
        if (lane < 4u * lines) {
          uint line = firstLine + (lane & 15u);
          uint element = 16u * sixteenth + 4u * (lane >> 4);
          if (line < allLines) {
            uint row = line / group;
            uint start = (row * queryHeads + kvHead * group + (line - row * group)) * headDim;
            for (uint k = 0; k < 4u; ++k) {
              if (element + k < headDim) own[k] = query.at[start + element + k];
            }
          }
        }
        barrier();
        for (uint i = 0; i < 4u; ++i) pool[i * 256u + lane] = tile[i];
        if (lane < 4u * lines) queryTile[lane] = own;
        barrier();
        for (uint i = 0; i < 4u; ++i) {
          vec4 key[4];
          for (uint k = 0; k < 4u; ++k) key[k] = pool[i * 256u + column + 64u * k];
          for (uint l = 0; l < 4u; ++l) {
            vec4 q = queryTile[i * lines + 4u * lineGroup + l];
            for (uint k = 0; k < 4u; ++k) {
              precise float dot = dots[l][k];
              dot = fma(q.x, key[k].x, dot);
              dot = fma(q.y, key[k].y, dot);
              dot = fma(q.z, key[k].z, dot);
              dot = fma(q.w, key[k].w, dot);
              dots[l][k] = dot;
            }
          }
        }
      }
      barrier();
      for (uint l = 0; l < 4u; ++l) {
        for (uint k = 0; k < 4u; ++k) {
          setScore(scoreIndex(4u * lineGroup + l, column + 64u * k), finished(dots[l][k]));
        }
      }
      if (lane == 0u) hasNonFinite = 0u;
      weigh();
      if (lane < lines) {
        float l = splitSum[lane];
        vec2 both = vec2(1.0, 0.0);
        if (l != nothingSeen) {
          float top = merged[lane];
          float sum = mergedSum[lane];
          both = mergeSplit(top, sum, splitTop[lane], l);
          merged[lane] = top;
          mergedSum[lane] = sum;
        }
        factors[lane] = both;
      }

      // Sums of values, `laneGroups` keys at a time.
      precise float chains[4][8];
      precise float splitSums[4][8];
      for (uint l = 0; l < 4u; ++l) {
        for (uint j = 0; j < ownElements; ++j) {
          chains[l][j] = 0.0;
          splitSums[l][j] = 0.0;
        }
      }
      for (uint stage = 0; stage < splitKeys / laneGroups; ++stage) {
        uint staged = stage * laneGroups + lane / rowLanes;
        uint at = keyRows[staged];
        vec4 low = vec4(0.0);
        vec4 high = vec4(0.0);
        if (at != noRow) loadEight(at + valueOffset, lane & (rowLanes - 1u), low, high);
        barrier();
        bool finite = true;
        for (uint i = 0; i < 4u; ++i) {
          valueTile[8u * lane + i] = low[i];
          valueTile[8u * lane + 4u + i] = high[i];
          finite = finite && (floatBitsToUint(low[i]) & 0x7f800000u) != 0x7f800000u &&
                   (floatBitsToUint(high[i]) & 0x7f800000u) != 0x7f800000u;
        }
        if (!finite) hasNonFinite = 1u;
        barrier();
        // A key that one line sees and another does not has weight 0 for the latter, and 0 times what is not finite is NaN.
        bool careful = hasNonFinite != 0u;
        for (uint k = 0; k < laneGroups; ++k) {
          uint key = stage * laneGroups + k;
          float value[8];
          for (uint j = 0; j < ownElements; ++j) {
            uint element = column + 64u * j;
            value[j] = element < paddedDim ? valueTile[k * paddedDim + element] : 0.0;
          }
          for (uint l = 0; l < 4u; ++l) {
            uint line = 4u * lineGroup + l;
            if (careful && (int(key) < seen[line].x || int(key) > seen[line].y)) continue;
            float weight = scoreAt(scoreIndex(line, key));
            for (uint j = 0; j < ownElements; ++j) {
              precise float chain = fma(weight, value[j], chains[l][j]);
              chains[l][j] = chain;
            }
          }
          if ((key & (chainKeys - 1u)) == chainKeys - 1u) {
            for (uint l = 0; l < 4u; ++l) {
              for (uint j = 0; j < ownElements; ++j) {
                precise float sum = splitSums[l][j] + chains[l][j];
                splitSums[l][j] = sum;
                chains[l][j] = 0.0;
              }
            }
          }
        }
      }
      for (uint l = 0; l < 4u; ++l) {
        vec2 both = factors[4u * lineGroup + l];
        if (splitSum[4u * lineGroup + l] == nothingSeen) continue;
        for (uint j = 0; j < ownElements; ++j) {
          precise float sum = fma(sums[l][j], both.x, splitSums[l][j] * both.y);
          sums[l][j] = sum;
        }
      }
      barrier();
    }
  }
  barrier();

  for (uint l = 0; l < 4u; ++l) {
    uint lineInTile = 4u * lineGroup + l;
    uint line = firstLine + lineInTile;
    if (line >= allLines) continue;
    uint row = line / group;
    uint start = (row * queryHeads + kvHead * group + (line - row * group)) * headDim;
    // No key seen: the sum is 0 since nothing was added, which the first key's weight 1 (or a NaN) makes impossible else.
    bool any = mergedSum[lineInTile] != 0.0;
    precise float inverse = 1.0 / mergedSum[lineInTile];
    for (uint j = 0; j < ownElements; ++j) {
      uint element = column + 64u * j;
      precise float value = sums[l][j] * inverse;
      if (element < headDim) result.at[start + element] = any ? value : 0.0;
    }
  }
}

#endif
