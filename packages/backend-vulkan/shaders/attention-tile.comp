// softmax(scale q k^T) v over a paged KV state, causal, grouped-query, ragged, for many rows, to the same bits as
// attention-row.comp: a workgroup takes 16 lines (a line is one head of one row) that share a KV head, and all sections, two at
// a time. Keys and values pass through shared memory; scores, and sums of values, are tiles in registers.
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

const uint tileLines = 16u;
// Scored side by side: the lines of the first of two sections, then those of the second.
const uint sectionsAtOnce = 2u;
const uint tileKeys = sectionsAtOnce * sectionKeys;
const uint lines = sectionsAtOnce * tileLines;
// A tile of keys, [2][tileKeys] vectors of 4 elements; afterwards scores.
shared vec4 pool[lines * (sectionKeys / 4u + 1u)];
#include "include/attention-weigh.glsl"

shared vec4 queryTile[2u * tileLines];
shared float valueTile[2048];
shared uint keyRows[tileKeys];
// Keys of the section that a line sees, first and last, relative to the section; first > last where none.
shared ivec2 seen[lines];

shared ivec2 sights[tileLines];
shared int sequencesOfLines[tileLines];
shared float merged[tileLines];
shared float mergedSum[tileLines];
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
  uint firstLine = gl_WorkGroupID.x * tileLines;
  uint allLines = rows * group;
  uint valueOffset = valueDistance();

  // Lines that an invocation works for: 4 neighbours. Of keys it takes every 64th, of the head's elements too.
  uint lineGroup = lane >> 6;
  uint column = lane & 63u;

  uint lastRow = (min(firstLine + tileLines, allLines) - 1u) / group;
  int firstSequence = sequenceOf(firstLine / group);
  int lastSequence = sequenceOf(lastRow);
  if (lane < tileLines) {
    uint line = firstLine + lane;
    int own = -1;
    if (line < allLines) {
      uint row = line / group;
      sights[lane] = sightOf(positions.at[row], reachOf(row));
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
    if (lane < tileLines && sequencesOfLines[lane] == sequence && sights[lane].x <= sights[lane].y) {
      atomicMin(lowest, sights[lane].x);
      atomicMax(highest, sights[lane].y);
    }
    barrier();
    int from = lowest;
    int to = highest;
    if (from > to) continue;

    for (int firstKey = from / int(sectionKeys) * int(sectionKeys); firstKey <= to; firstKey += int(tileKeys)) {
      uint sectionsHere = min(uint(to - firstKey) / sectionKeys + 1u, sectionsAtOnce);
      int position = firstKey + int(lane);
      uint rowOfKey = noRow;
      if (position >= from && position <= to) {
        int entry = blocks.at[uint(sequence) * tableColumns + uint(position) / blockTokens];
        rowOfKey = keyRow(entry, kvHead, uint(position));
      }
      keyRows[lane] = rowOfKey;
      if (lane < lines) {
        uint line = lane % tileLines;
        ivec2 sight = sights[line] - firstKey - int(lane / tileLines * sectionKeys);
        ivec2 inSection = ivec2(max(sight.x, 0), min(sight.y, int(sectionKeys) - 1));
        seen[lane] = sequencesOfLines[line] == sequence ? inSection : ivec2(1, 0);
      }

      // Scores of 4 lines and 4 keys an invocation, 8 elements of all keys and lines at a time, in the order of the tree
      // that adds the strands: `o` counts strands, and its bits in reverse are which.
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
          if (lane < 2u * tileLines) {
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
          pool[tileKeys + lane] = high;
          if (lane < 2u * tileLines) queryTile[lane] = own;
          barrier();
          for (uint i = 0; i < 2u; ++i) {
            vec4 key[4];
            for (uint k = 0; k < 4u; ++k) key[k] = pool[i * tileKeys + column + 64u * k];
            for (uint l = 0; l < 4u; ++l) {
              vec4 q = queryTile[i * tileLines + 4u * lineGroup + l];
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
        for (uint k = 0; k < 4u; ++k) {
          uint key = column + 64u * k;
          setScore(key / sectionKeys * tileLines + 4u * lineGroup + l, key % sectionKeys, dots[l][k]);
        }
      }
      if (lane == 0u) hasNonFinite = 0u;
      barrier();
      for (uint line = gl_SubgroupID; line < sectionsHere * tileLines; line += gl_NumSubgroups) {
        weighLine(line, seen[line]);
      }
      barrier();
      if (lane < tileLines) {
        for (uint line = lane; line < sectionsHere * tileLines; line += tileLines) {
          float l = sectionSum[line];
          vec2 both = vec2(1.0, 0.0);
          if (!isNothing(l)) {
            float top = merged[lane];
            float sum = mergedSum[lane];
            both = mergeSection(top, sum, sectionTop[line], l);
            merged[lane] = top;
            mergedSum[lane] = sum;
          }
          factors[line] = both;
        }
      }

      for (uint section = 0; section < sectionsHere; ++section) {
        uint ownLine = section * tileLines + 4u * lineGroup;
        // Sums of values, as many keys at a time as there are strands, one strand's after the other's.
        precise float strandSums[4][8];
        precise float sectionSums[4][8];
        for (uint l = 0; l < 4u; ++l) {
          for (uint j = 0; j < ownElements; ++j) {
            strandSums[l][j] = 0.0;
            sectionSums[l][j] = 0.0;
          }
        }
        for (uint stage = 0; stage < sectionKeys / strands; ++stage) {
          uint at = keyRows[section * sectionKeys + keyAt(stage * strands + lane / rowLanes)];
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
          for (uint k = 0; k < strands; ++k) {
            uint place = stage * strands + k;
            int key = int(keyAt(place));
            float value[8];
            for (uint j = 0; j < ownElements; ++j) {
              uint element = column + 64u * j;
              value[j] = element < paddedDim ? valueTile[k * paddedDim + element] : 0.0;
            }
            for (uint l = 0; l < 4u; ++l) {
              uint line = ownLine + l;
              if (careful && (key < seen[line].x || key > seen[line].y)) continue;
              float weight = pool[line * lineVectors + (place >> 2)][place & 3u];
              for (uint j = 0; j < ownElements; ++j) {
                precise float strand = fma(weight, value[j], strandSums[l][j]);
                strandSums[l][j] = strand;
              }
            }
            if (place % strandKeys == strandKeys - 1u) {
              for (uint l = 0; l < 4u; ++l) {
                for (uint j = 0; j < ownElements; ++j) {
                  precise float sum = sectionSums[l][j] + strandSums[l][j];
                  sectionSums[l][j] = sum;
                  strandSums[l][j] = 0.0;
                }
              }
            }
          }
        }
        for (uint l = 0; l < 4u; ++l) {
          if (isNothing(sectionSum[ownLine + l])) continue;
          vec2 both = factors[ownLine + l];
          for (uint j = 0; j < ownElements; ++j) {
            precise float sum = fma(sums[l][j], both.x, sectionSums[l][j] * both.y);
            sums[l][j] = sum;
          }
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
