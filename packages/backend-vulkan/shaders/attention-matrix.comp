// softmax(scale q k^T) v over a paged KV state, causal, grouped-query, ragged, for many rows, by cooperative matrices of f16
// with f32 sums: a workgroup of 8 subgroups takes 32 or 64 lines (a line is one head of one row) that share a KV head, and
// walks their keys in tiles of 64 that begin at absolute multiples of 64.
//
// - Queries, rounded to f16 after a power of two has brought the line's largest element to 1, stay in registers.
// - A tile of keys goes to shared memory, its scores too; a few invocations a line keep the running maximum m and the sum l
//   of weights 2^(score - m), and leave weights times 1,024 in f16, so that small ones are not subnormal.
// - A tile of values takes the place of the keys. What was summed is scaled by 2^(old m - new m), and the tile's sum added.
//
// Tiles follow each other in order, sums within one have an order of their own, and keys that a line does not see add +0:
// a line's bits depend neither on the other lines nor on how many a workgroup takes, so neither on the batch nor on how a
// prompt was cut. They are not the bits of the row form. Slow twin: attention-row.comp.
//
// Loops over arrays have literal bounds, and specialization constants leave out what is too much: so the compiler unrolls
// them, and arrays of matrices are registers.
#version 460
#pragma use_vulkan_memory_model
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_shuffle : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#define ONLY_VECTORS
#include "include/memory.glsl"
#include "include/function.glsl"
#include "include/fault.glsl"
#include "include/attention-state.glsl"

// 8 subgroups of 32.
layout(local_size_x = 256) in;
// Lines of a workgroup: 32 or 64.
layout(constant_id = 7) const uint lines = 64;
// Elements of a head as the matrices have them: a multiple of 16 for each part.
layout(constant_id = 8) const uint paddedDim = 128;

// The hardware's matrices are 16 x 16 x 16.
#define M 16
const uint tileKeys = 64u;
// Subgroups that share 16 lines: each makes the scores of a part of the keys, and sums a part of the head's elements.
const uint partCount = 128u / lines;
const uint partKeys = tileKeys / partCount;
const uint partDim = paddedDim / partCount;
const uint keyBlocks = partKeys / M;
const uint dimBlocks = partDim / M;
const uint depthBlocks = paddedDim / M;

// Rows in shared memory are 16 bytes longer than they need be, so that they begin in different banks. In vectors of 4.
const uint rowStride = paddedDim / 4u + 2u;
const uint scoreStride = tileKeys / 4u + 1u;
const uint weightStride = tileKeys / 4u + 2u;
// Queries at first, then keys and values by turns.
shared f16vec4 rowTile[tileKeys * rowStride];
// Scores; then, in the first 16 of a line, its factor; at the end results.
shared vec4 scoreTile[lines * scoreStride];
shared f16vec4 weightTile[lines * weightStride];

const float weightScale = 1024.0;

// The rows of the keys of two tiles, by turns.
shared uint keyRows[2u * tileKeys];
// First and last key that a line sees, in the sequence at hand.
shared ivec2 seen[lines];
shared float inverses[lines];
shared int lowest;
shared int highest;
// Whether a value of the tile is not finite.
shared uint poisoned;

// Vectors of 8 elements of a tile of rows, and how many an invocation moves.
const uint rowVectors = paddedDim / 8u;
const uint tileLoads = tileKeys * rowVectors / 256u;
// The most that heads of 256 need of tileLoads, depthBlocks, dimBlocks, keyBlocks, laneVectors and laneKeys.
#define LOADS 8u
#define DEPTH_BLOCKS 16u
#define DIM_BLOCKS 8u
#define KEY_BLOCKS 2u
#define LANE_VECTORS 4u
#define LANE_KEYS 16u

// Invocations of a line, and the keys of each.
const uint lineLanes = 256u / lines;
const uint laneKeys = tileKeys / lineLanes;
const uint laneVectors = paddedDim / lineLanes / 8u;

#define SUMS coopmat<float, gl_ScopeSubgroup, M, M, gl_MatrixUseAccumulator>

void halves(Raw raw, out f16vec4 low, out f16vec4 high) {
#if STATE == STATE_F16
  low = f16vec4(unpackFloat2x16(raw.bits.x), unpackFloat2x16(raw.bits.y));
  high = f16vec4(unpackFloat2x16(raw.bits.z), unpackFloat2x16(raw.bits.w));
#else
  vec4 first, second;
  decodeRaw(raw, first, second);
  low = f16vec4(first);
  high = f16vec4(second);
#endif
}

bool isFinite(uvec2 bits) {
  uvec2 low = bits & 0x7c00u;
  uvec2 high = bits & 0x7c000000u;
  return low.x != 0x7c00u && low.y != 0x7c00u && high.x != 0x7c000000u && high.y != 0x7c000000u;
}

uvec2 bitsOf(f16vec4 v) {
  return uvec2(packFloat2x16(v.xy), packFloat2x16(v.zw));
}

// An element that is not finite becomes 0.
f16vec4 finiteOf(f16vec4 v) {
  uvec2 bits = bitsOf(v);
  if ((bits.x & 0x7c00u) == 0x7c00u) v.x = 0.0hf;
  if ((bits.x & 0x7c000000u) == 0x7c000000u) v.y = 0.0hf;
  if ((bits.y & 0x7c00u) == 0x7c00u) v.z = 0.0hf;
  if ((bits.y & 0x7c000000u) == 0x7c000000u) v.w = 0.0hf;
  return v;
}

// One vector of a tile of rows, `offset` rows beyond its keys.
Raw tileRaw(uint index, uint turn, uint offset) {
  uint row = keyRows[turn * tileKeys + index / rowVectors];
  return loadRaw(row == noRow ? noRow : row + offset, index % rowVectors);
}

// The row of the key that this invocation looks up for a tile.
uint rowOfKey(uint lane, int sequence, uint kvHead, int tile, int from, int to) {
  int position = tile * int(tileKeys) + int(lane);
  if (lane >= tileKeys || position < from || position > to) return noRow;
  int entry = blocks.at[uint(sequence) * tableColumns + uint(position) / blockTokens];
  return keyRow(entry, kvHead, uint(position));
}

// Where a line's elements begin in query and result.
uint startOf(uint line, uint kvHead, uint group) {
  uint row = line / group;
  return (row * queryHeads + kvHead * group + line % group) * headDim;
}

// One element of a value, read by itself.
float valueAt(uint row, uint element) {
  f16vec4 low, high;
  halves(loadRaw(row, element / 8u), low, high);
  return float((element & 4u) == 0u ? low[element & 3u] : high[element & 3u]);
}

void main() {
  uint lane = gl_SubgroupID * 32u + gl_SubgroupInvocationID;
  uint kvHead = gl_WorkGroupID.y;
  uint group = queryHeads / kvHeads;
  uint allLines = rows * group;
  // Late rows see most keys: they begin first.
  uint firstLine = (gl_NumWorkGroups.x - 1u - gl_WorkGroupID.x) * lines;
  uint valueOffset = valueDistance();
  uint ownBlock = gl_SubgroupID / partCount * M;
  uint part = gl_SubgroupID % partCount;

  uint lastRow = (min(firstLine + lines, allLines) - 1u) / group;
  int firstSequence = sequenceOf(firstLine / group);
  int lastSequence = sequenceOf(lastRow);

  // State of the line that the invocation shares with its neighbours.
  uint ownLine = lane / lineLanes;
  uint lineLane = lane % lineLanes;
  uint line = firstLine + ownLine;
  ivec2 sight = ivec2(1, 0);
  int ownSequence = -1;
  uint top = 0u;
  float asked[LANE_VECTORS * 8u];
  [[unroll]] for (uint i = 0; i < LANE_VECTORS * 8u; ++i) asked[i] = 0.0;
  if (line < allLines) {
    uint row = line / group;
    sight = sightOf(positions.at[row], reachOf(row));
    // The last sequence of the tile that does not begin after the row.
    for (int s = max(firstSequence, 0); s <= lastSequence; ++s) {
      int begin = starts.at[s];
      if (begin >= 0 && begin <= int(row)) ownSequence = s;
    }
    uint start = startOf(line, kvHead, group);
    [[unroll]] for (uint v = 0; v < LANE_VECTORS; ++v) {
      [[unroll]] for (uint k = 0; k < 8u; k += 4u) {
        uint element = 8u * (v * lineLanes + lineLane) + k;
        if (v < laneVectors && element < headDim) {
          // Heads of whole vectors begin at one, as queries do.
          vec4 four = uintBitsToFloat(VectorsIn(query).at[(start + element) / 4u]);
          asked[8u * v + k] = four.x;
          asked[8u * v + k + 1u] = four.y;
          asked[8u * v + k + 2u] = four.z;
          asked[8u * v + k + 3u] = four.w;
        }
      }
    }
  }
  [[unroll]] for (uint i = 0; i < LANE_VECTORS * 8u; ++i) top = max(top, floatBitsToUint(asked[i]) & 0x7fffffffu);
  for (uint distance = 1u; distance < lineLanes; distance *= 2u) top = max(top, subgroupShuffleXor(top, distance));
  // The largest element's exponent; 1 where it is too small or too large to have an inverse, or not finite.
  uint exponent = top >> 23;
  if (exponent == 0u || exponent > 253u) exponent = 127u;
  float toOne = uintBitsToFloat((254u - exponent) << 23);
  // 2^x is what there is: scores are in units of ln 2.
  const float log2e = 1.44269504;
  float back = uintBitsToFloat(exponent << 23) * scale;
  [[unroll]] for (uint v = 0; v < LANE_VECTORS; ++v) {
    uint at = ownLine * rowStride + 2u * (v * lineLanes + lineLane);
    [[unroll]] for (uint k = 0; k < 2u; ++k) {
      vec4 four = vec4(asked[8u * v + 4u * k], asked[8u * v + 4u * k + 1u], asked[8u * v + 4u * k + 2u],
                       asked[8u * v + 4u * k + 3u]);
      if (v < laneVectors) rowTile[at + k] = f16vec4(four * toOne);
    }
  }
  barrier();
  coopmat<float16_t, gl_ScopeSubgroup, M, M, gl_MatrixUseA> queries[DEPTH_BLOCKS];
  [[unroll]] for (uint d = 0; d < DEPTH_BLOCKS; ++d) {
    if (d < depthBlocks) {
      coopMatLoad(queries[d], rowTile, ownBlock * rowStride + d * (M / 4), rowStride,
                  gl_CooperativeMatrixLayoutRowMajor);
    }
  }
  SUMS sums[DIM_BLOCKS];
  [[unroll]] for (uint b = 0; b < DIM_BLOCKS; ++b) sums[b] = SUMS(0.0);
  float m = -infinity;
  float l = 0.0;

  for (int sequence = max(firstSequence, 0); sequence <= lastSequence; ++sequence) {
    barrier();
    if (lane == 0u) {
      lowest = 0x7fffffff;
      highest = -1;
    }
    ivec2 ownSight = ownSequence == sequence ? sight : ivec2(1, 0);
    if (lineLane == 0u) seen[ownLine] = ownSight;
    barrier();
    if (lineLane == 0u && ownSight.x <= ownSight.y) {
      atomicMin(lowest, ownSight.x);
      atomicMax(highest, ownSight.y);
    }
    barrier();
    int from = lowest;
    int to = highest;
    if (from > to) continue;

    int lastTile = to / int(tileKeys);
    uint turn = 0u;
    uint nextRow = rowOfKey(lane, sequence, kvHead, from / int(tileKeys), from, to);
    if (lane < tileKeys) keyRows[lane] = nextRow;
    barrier();
    Raw keyRaws[LOADS];
    [[unroll]] for (uint i = 0; i < LOADS; ++i) {
      if (i < tileLoads) keyRaws[i] = tileRaw(i * 256u + lane, turn, 0u);
    }
    for (int tile = from / int(tileKeys); tile <= lastTile; ++tile) {
      // No invocation reads values, weights or factors of the tile before any more.
      barrier();
      if (lane == 0u) poisoned = 0u;
      [[unroll]] for (uint i = 0; i < LOADS; ++i) {
        if (i < tileLoads) {
          uint index = i * 256u + lane;
          f16vec4 low, high;
          halves(keyRaws[i], low, high);
          uint at = index / rowVectors * rowStride + index % rowVectors * 2u;
          rowTile[at] = low;
          rowTile[at + 1u] = high;
        }
      }
      Raw valueRaws[LOADS];
      [[unroll]] for (uint i = 0; i < LOADS; ++i) {
        if (i < tileLoads) valueRaws[i] = tileRaw(i * 256u + lane, turn, valueOffset);
      }
      nextRow = rowOfKey(lane, sequence, kvHead, tile + 1, from, to);
      barrier();

      SUMS scores[KEY_BLOCKS];
      [[unroll]] for (uint k = 0; k < KEY_BLOCKS; ++k) scores[k] = SUMS(0.0);
      [[unroll]] for (uint d = 0; d < DEPTH_BLOCKS; ++d) {
        [[unroll]] for (uint k = 0; k < KEY_BLOCKS; ++k) {
          if (d < depthBlocks && k < keyBlocks) {
            coopmat<float16_t, gl_ScopeSubgroup, M, M, gl_MatrixUseB> key;
            coopMatLoad(key, rowTile, (part * partKeys + k * M) * rowStride + d * (M / 4), rowStride,
                        gl_CooperativeMatrixLayoutColumnMajor);
            scores[k] = coopMatMulAdd(queries[d], key, scores[k]);
          }
        }
      }
      [[unroll]] for (uint k = 0; k < KEY_BLOCKS; ++k) {
        if (k < keyBlocks) {
          coopMatStore(scores[k], scoreTile, ownBlock * scoreStride + (part * partKeys + k * M) / 4u, scoreStride,
                       gl_CooperativeMatrixLayoutRowMajor);
        }
      }
      barrier();

      // Values take the keys' place.
      if (lane < tileKeys) keyRows[(turn ^ 1u) * tileKeys + lane] = nextRow;
      bool finite = true;
      [[unroll]] for (uint i = 0; i < LOADS; ++i) {
        if (i < tileLoads) {
          uint index = i * 256u + lane;
          f16vec4 low, high;
          halves(valueRaws[i], low, high);
          finite = finite && isFinite(bitsOf(low)) && isFinite(bitsOf(high));
          uint at = index / rowVectors * rowStride + index % rowVectors * 2u;
          rowTile[at] = low;
          rowTile[at + 1u] = high;
        }
      }
      if (!finite) {
        poisoned = 1u;
        for (uint index = lane; index < tileKeys * rowVectors; index += 256u) {
          uint at = index / rowVectors * rowStride + index % rowVectors * 2u;
          rowTile[at] = finiteOf(rowTile[at]);
          rowTile[at + 1u] = finiteOf(rowTile[at + 1u]);
        }
      }

      // Weights: invocation t of a line takes the keys t * laneKeys and on.
      // What is beyond laneKeys has no key.
      float own[LANE_KEYS];
      int firstKey = tile * int(tileKeys) + int(lineLane * laneKeys);
      float newTop = m;
      if (hasSoftcap) {
        [[dont_unroll]] for (uint i = 0; i < laneKeys; ++i) {
          uint at = ownLine * scoreStride + (lineLane * laneKeys + i) / 4u;
          precise float score = scoreTile[at][i & 3u] * back;
          scoreTile[at][i & 3u] = softcapped(score, cap);
        }
      }
      [[unroll]] for (uint i = 0; i < LANE_KEYS; i += 4u) {
        vec4 four = vec4(0.0);
        if (i < laneKeys) four = scoreTile[ownLine * scoreStride + (lineLane * laneKeys + i) / 4u];
        [[unroll]] for (uint c = 0; c < 4u; ++c) {
          precise float score = four[c] * (hasSoftcap ? 1.0 : back);
          score = score * log2e;
          own[i + c] = score;
          int key = firstKey + int(i + c);
          if (i < laneKeys && key >= ownSight.x && key <= ownSight.y && score > newTop) newTop = score;
        }
      }
      for (uint distance = 1u; distance < lineLanes; distance *= 2u) {
        float other = subgroupShuffleXor(newTop, distance);
        if (other > newTop) newTop = other;
      }
      // Sums of 8 keys, then of 16, and so on: the same whether an invocation has 8 or 16.
      float eights[2] = float[](0.0, 0.0);
      [[unroll]] for (uint i = 0; i < LANE_KEYS; ++i) {
        int key = firstKey + int(i);
        float weight = 0.0;
        if (i < laneKeys && key >= ownSight.x && key <= ownSight.y) {
          precise float below = own[i] - newTop;
          weight = isNaN(below) ? below : exp2(below);
        }
        own[i] = weight;
        precise float sum = eights[i / 8u] + weight;
        eights[i / 8u] = sum;
      }
      precise float tileSum = eights[0] + eights[1];
      for (uint distance = 1u; distance < lineLanes; distance *= 2u) {
        tileSum = tileSum + subgroupShuffleXor(tileSum, distance);
      }
      precise float fall = m - newTop;
      float factor = m == newTop ? 1.0 : exp2(fall);
      precise float newSum = fma(l, factor, tileSum);
      m = newTop;
      l = newSum;
      [[unroll]] for (uint i = 0; i < LANE_KEYS; i += 4u) {
        if (i < laneKeys) {
          weightTile[ownLine * weightStride + (lineLane * laneKeys + i) / 4u] =
              f16vec4(vec4(own[i], own[i + 1u], own[i + 2u], own[i + 3u]) * weightScale);
        }
      }
      // The line's scores have been read.
      subgroupMemoryBarrierShared();
      subgroupBarrier();
      if (lineLane < 4u) scoreTile[ownLine * scoreStride + lineLane] = vec4(factor);
      barrier();

      // Beyond the last tile there are no rows, and nothing is read.
      [[unroll]] for (uint i = 0; i < LOADS; ++i) {
        if (i < tileLoads) keyRaws[i] = tileRaw(i * 256u + lane, turn ^ 1u, 0u);
      }
      SUMS factors;
      coopMatLoad(factors, scoreTile, ownBlock * scoreStride, scoreStride, gl_CooperativeMatrixLayoutRowMajor);
      [[unroll]] for (uint b = 0; b < DIM_BLOCKS; ++b) {
        if (b < dimBlocks) sums[b] = sums[b] * factors;
      }
      [[unroll]] for (uint k = 0; k < tileKeys / M; ++k) {
        coopmat<float16_t, gl_ScopeSubgroup, M, M, gl_MatrixUseA> weights;
        coopMatLoad(weights, weightTile, ownBlock * weightStride + k * (M / 4), weightStride,
                    gl_CooperativeMatrixLayoutRowMajor);
        [[unroll]] for (uint b = 0; b < DIM_BLOCKS; ++b) {
          if (b < dimBlocks) {
            coopmat<float16_t, gl_ScopeSubgroup, M, M, gl_MatrixUseB> values;
            coopMatLoad(values, rowTile, k * M * rowStride + (part * partDim + b * M) / 4u, rowStride,
                        gl_CooperativeMatrixLayoutRowMajor);
            sums[b] = coopMatMulAdd(weights, values, sums[b]);
          }
        }
      }
      // A key that one line sees and another does not has weight 0 for the latter, and 0 times what is not finite is NaN:
      // such values were left out, and are added to the lines that see them.
      if (poisoned != 0u) {
        [[dont_unroll]] for (uint block = 0; block < dimBlocks; ++block) {
          barrier();
          for (uint e = gl_SubgroupInvocationID; e < M * M; e += 32u) {
            uint lineOfTile = ownBlock + e / M;
            uint element = part * partDim + block * M + e % M;
            float extra = 0.0;
            for (uint k = 0; k < tileKeys; ++k) {
              int key = tile * int(tileKeys) + int(k);
              uint row = keyRows[turn * tileKeys + k];
              if (row == noRow || key < seen[lineOfTile].x || key > seen[lineOfTile].y) continue;
              float value = valueAt(row + valueOffset, element);
              if ((floatBitsToUint(value) & 0x7f800000u) != 0x7f800000u) continue;
              extra += value * float(weightTile[lineOfTile * weightStride + k / 4u][k & 3u]);
            }
            scoreTile[gl_SubgroupID * 64u + e / 4u][e & 3u] = extra;
          }
          barrier();
          SUMS extras;
          coopMatLoad(extras, scoreTile, gl_SubgroupID * 64u, 4u, gl_CooperativeMatrixLayoutRowMajor);
          [[unroll]] for (uint b = 0; b < DIM_BLOCKS; ++b) {
            if (b == block) sums[b] = sums[b] + extras;
          }
        }
      }
      turn ^= 1u;
    }
  }
  if (gl_WorkGroupID.x == 0u && kvHead == 0u) checkStarts();

  // Nothing seen: the sum is 0, which the first key's weight 1 (or a NaN) makes impossible else.
  if (lineLane == 0u) inverses[ownLine] = l == 0.0 ? 0.0 : 1.0 / (weightScale * l);
  [[dont_unroll]] for (uint block = 0; block < dimBlocks; ++block) {
    barrier();
    [[unroll]] for (uint b = 0; b < DIM_BLOCKS; ++b) {
      if (b == block) coopMatStore(sums[b], scoreTile, gl_SubgroupID * 64u, 4u, gl_CooperativeMatrixLayoutRowMajor);
    }
    barrier();
    for (uint e = gl_SubgroupInvocationID; e < M * M; e += 32u) {
      uint lineOfTile = ownBlock + e / M;
      uint element = part * partDim + block * M + e % M;
      if (firstLine + lineOfTile >= allLines || element >= headDim) continue;
      precise float value = scoreTile[gl_SubgroupID * 64u + e / 4u][e & 3u] * inverses[lineOfTile];
      result.at[startOf(firstLine + lineOfTile, kvHead, group) + element] = value;
    }
  }
}
