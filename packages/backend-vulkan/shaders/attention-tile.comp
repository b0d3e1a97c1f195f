// softmax(scale q k^T) v over a paged KV state, causal, grouped-query, ragged, for many rows, to the same bits as
// attention-row.comp: a workgroup takes 16 lines (a line is one head of one row) that share a KV head, and all splits one
// after the other. Keys and values pass through shared memory; scores, and sums of values, are tiles in registers.
//
// For devices without cooperative matrices and for f32 precision: attention-matrix.comp is many times as fast.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "include/memory.glsl"
#include "include/function.glsl"
#include "include/fault.glsl"
#include "include/attention.glsl"
#include "include/attention-state.glsl"

layout(local_size_x = 256) in;

const uint lines = 16u;
// A tile of keys, [2][256] vectors of 4 elements; afterwards scores.
shared vec4 pool[lines * 65u];
#include "include/attention-weigh.glsl"

shared vec4 queryTile[2u * lines];
shared float valueTile[2048];
shared uint keyRows[splitKeys];
// Keys of the split that a line sees, first and last, relative to the split; first > last where none.
shared ivec2 seen[lines];

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
      spans[lane] = spanOf(positions.at[row], reachOf(row));
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
      if (position >= from && position <= to) {
        int entry = blocks.at[uint(sequence) * tableColumns + uint(position) / blockTokens];
        rowOfKey = keyRow(entry, kvHead, uint(position));
      }
      keyRows[lane] = rowOfKey;
      if (lane < lines) {
        ivec2 inSplit = ivec2(max(spans[lane].x - firstKey, 0), min(spans[lane].y - firstKey, 255));
        seen[lane] = sequencesOfLines[lane] == sequence ? inSplit : ivec2(1, 0);
      }

      // Scores of 4 lines and 4 keys an invocation, 8 elements of all keys and lines at a time, in the order of the tree
      // that adds the chains: `o` counts chains, and its bits in reverse are which.
      precise vec4 dots[4];
      vec4 pairs[4];
      vec4 fours[4];
      vec4 eights[4];
      for (uint o = 0; o < keyLanes; ++o) {
        uint keyLane = (o & 1u) * (keyLanes / 2u) + (o >> 1 & 1u) * (keyLanes / 4u) + (o >> 2 & 1u) * (keyLanes / 8u);
        for (uint l = 0; l < 4u; ++l) dots[l] = vec4(0.0);
        for (uint eighth = keyLane; 8u * eighth < headDim; eighth += keyLanes) {
          vec4 low, high;
          decodeRaw(loadRaw(rowOfKey, eighth), low, high);
          vec4 own = vec4(0.0);
          if (lane < 2u * lines) {
            uint line = firstLine + (lane & 15u);
            uint element = 8u * eighth + 4u * (lane >> 4);
            if (line < allLines) {
              uint row = line / group;
              uint start = (row * queryHeads + kvHead * group + (line - row * group)) * headDim;
              for (uint k = 0; k < 4u; ++k) {
                if (element + k < headDim) own[k] = query.at[start + element + k];
              }
            }
          }
          barrier();
          pool[lane] = low;
          pool[256u + lane] = high;
          if (lane < 2u * lines) queryTile[lane] = own;
          barrier();
          for (uint i = 0; i < 2u; ++i) {
            vec4 key[4];
            for (uint k = 0; k < 4u; ++k) key[k] = pool[i * 256u + column + 64u * k];
            for (uint l = 0; l < 4u; ++l) {
              vec4 q = queryTile[i * lines + 4u * lineGroup + l];
              precise vec4 dot = dots[l];
              dot = fma(vec4(q.x), vec4(key[0].x, key[1].x, key[2].x, key[3].x), dot);
              dot = fma(vec4(q.y), vec4(key[0].y, key[1].y, key[2].y, key[3].y), dot);
              dot = fma(vec4(q.z), vec4(key[0].z, key[1].z, key[2].z, key[3].z), dot);
              dot = fma(vec4(q.w), vec4(key[0].w, key[1].w, key[2].w, key[3].w), dot);
              dots[l] = dot;
            }
          }
        }
        for (uint l = 0; l < 4u; ++l) {
          precise vec4 sum = dots[l];
          if ((o & 1u) == 0u) {
            pairs[l] = sum;
          } else {
            sum = pairs[l] + sum;
            if ((o & 2u) == 0u) {
              fours[l] = sum;
            } else {
              sum = fours[l] + sum;
              if ((o & 4u) == 0u) {
                eights[l] = sum;
              } else {
                sum = eights[l] + sum;
              }
            }
          }
          dots[l] = sum;
        }
      }
      barrier();
      for (uint l = 0; l < 4u; ++l) {
        for (uint k = 0; k < 4u; ++k) setScore(4u * lineGroup + l, column + 64u * k, dots[l][k]);
      }
      if (lane == 0u) hasNonFinite = 0u;
      barrier();
      for (uint line = gl_SubgroupID; line < lines; line += gl_NumSubgroups) weighLine(line, seen[line]);
      barrier();
      if (lane < lines) {
        float l = splitSum[lane];
        vec2 both = vec2(1.0, 0.0);
        if (!isNothing(l)) {
          float top = merged[lane];
          float sum = mergedSum[lane];
          both = mergeSplit(top, sum, splitTop[lane], l);
          merged[lane] = top;
          mergedSum[lane] = sum;
        }
        factors[lane] = both;
      }

      // Sums of values, as many keys at a time as there are chains, one chain's after the other's.
      precise float chainSums[4][8];
      precise float splitSums[4][8];
      for (uint l = 0; l < 4u; ++l) {
        for (uint j = 0; j < ownElements; ++j) {
          chainSums[l][j] = 0.0;
          splitSums[l][j] = 0.0;
        }
      }
      for (uint stage = 0; stage < splitKeys / chains; ++stage) {
        uint staged = stage * chains + lane / rowLanes;
        uint at = keyRows[keyAt(staged)];
        vec4 low, high;
        decodeRaw(loadRaw(at == noRow ? noRow : at + valueOffset, lane % rowLanes), low, high);
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
        for (uint k = 0; k < chains; ++k) {
          uint place = stage * chains + k;
          int key = int(keyAt(place));
          float value[8];
          for (uint j = 0; j < ownElements; ++j) {
            uint element = column + 64u * j;
            value[j] = element < paddedDim ? valueTile[k * paddedDim + element] : 0.0;
          }
          for (uint l = 0; l < 4u; ++l) {
            uint line = 4u * lineGroup + l;
            if (careful && (key < seen[line].x || key > seen[line].y)) continue;
            float weight = pool[line * lineVectors + (place >> 2)][place & 3u];
            for (uint j = 0; j < ownElements; ++j) {
              precise float chain = fma(weight, value[j], chainSums[l][j]);
              chainSums[l][j] = chain;
            }
          }
          if (place % chainKeys == chainKeys - 1u) {
            for (uint l = 0; l < 4u; ++l) {
              for (uint j = 0; j < ownElements; ++j) {
                precise float sum = splitSums[l][j] + chainSums[l][j];
                splitSums[l][j] = sum;
                chainSums[l][j] = 0.0;
              }
            }
          }
        }
      }
      for (uint l = 0; l < 4u; ++l) {
        vec2 both = factors[4u * lineGroup + l];
        if (isNothing(splitSum[4u * lineGroup + l])) continue;
        for (uint j = 0; j < ownElements; ++j) {
          precise float sum = fma(sums[l][j], both.x, splitSums[l][j] * both.y);
          sums[l][j] = sum;
        }
      }
      barrier();
    }
  }
  if (gl_WorkGroupID.x == 0u && kvHead == 0u) checkStarts();
  barrier();

  for (uint l = 0; l < 4u; ++l) {
    uint lineInTile = 4u * lineGroup + l;
    uint line = firstLine + lineInTile;
    if (line >= allLines) continue;
    uint row = line / group;
    uint start = (row * queryHeads + kvHead * group + (line - row * group)) * headDim;
    bool any = isAny(mergedSum[lineInTile]);
    precise float inverse = 1.0 / mergedSum[lineInTile];
    for (uint j = 0; j < ownElements; ++j) {
      uint element = column + 64u * j;
      precise float value = sums[l][j] * inverse;
      if (element < headDim) result.at[start + element] = any ? value : 0.0;
    }
  }
}
