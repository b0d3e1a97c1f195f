// The product of few rows of int8 activations with weights in planes, as fast as the weights can be read.
//
// `lanes` neighbours share a row of weights: lane l takes blocks l, l + lanes, ... of 32 columns, and for each
//   sum = fma(float(exact int32 dot), weightScale * activationScale, sum)      (twice where scales cover 16 columns)
//   sum = fma(weightMinimum, activationScale * float(activationSum), sum)      (types with minimums)
// then the sums of neighbours in a subgroup are added as a tree, those of subgroups one after the other. Nothing of this
// depends on the number of activation rows or their order, so a row's result is the same in every batch, bit for bit. Slow
// twin: matmul-float.comp over decoded weights.
#version 460
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_shuffle : require
#extension GL_EXT_integer_dot_product : require
#include "include/matmul.glsl"

layout(local_size_x_id = 0) in;
// Neighbours that share a row within a subgroup, and subgroups that share it: lanes is their product.
layout(constant_id = 6) const uint width = 8;
layout(constant_id = 7) const uint parts = 1;
// Weight rows (of each bank) and activation rows of one invocation.
layout(constant_id = 8) const uint tileRows = 1;
layout(constant_id = 9) const uint tileTokens = 1;
// Blocks of a row that a lane loads before it uses the first.
layout(constant_id = 10) const uint depth = 1;
// Banks of rows: 2 for a gated pair.
layout(constant_id = 11) const uint banks = 1;
// Products of the dispatch.
layout(constant_id = 12) const uint products = 1;
// Steps of the tree in which neighbours halve the sums that they have: 2^folds divides both `width` and `outputs`.
layout(constant_id = 13) const uint folds = 0;

const uint lanes = width * parts;
const uint outputs = tileRows * tileTokens;
// Rows of an invocation, over both banks.
const uint lines = banks * tileRows;
// Sums that an invocation has after the tree.
const uint ended = outputs >> folds;

// Sums of subgroups that share rows.
shared float partials[parts > 1 ? gl_WorkGroupSize.x / width * banks * outputs : 1];

struct Activations {
  uvec4 low;
  uvec4 high;
  uvec2 factors;  // scale, and the sums of quants
};

// As matmul-prepare lays out int8.
Activations activationsAt(uint token, uint block, uint blocks, uint stride) {
  uint at = token * stride + block;
  return Activations(x.at[at], x.at[at + blocks], WordPairsIn(x).at[2 * (token * stride + 2 * blocks) + block]);
}

int dotHalf(int sum, uint a0, uint a1, uint a2, uint a3, uvec4 b) {
  sum += dotPacked4x8EXT(int(a0), int(b.x));
  sum += dotPacked4x8EXT(int(a1), int(b.y));
  sum += dotPacked4x8EXT(int(a2), int(b.z));
  sum += dotPacked4x8EXT(int(a3), int(b.w));
  return sum;
}

// Step `i` of the tree over the width. While sums can be halved, the one neighbour goes on with the first half, the other
// with the second; every sum is added up in the same order as if all had all.
#define FOLD(i)                                                                                                     \
  if ((width >> (i + 1)) > 0) {                                                                                     \
    bool upper = (lane & (width >> (i + 1))) != 0;                                                                  \
    [[unroll]] for (uint bank = 0; bank < banks; bank++) {                                                          \
      [[unroll]] for (uint v = 0; v < (i < folds ? outputs >> (i + 1) : ended); v++) {                              \
        uint first = bank * outputs + v;                                                                            \
        float mine = sums[first];                                                                                   \
        float theirs = mine;                                                                                        \
        if (i < folds) {                                                                                            \
          float second = sums[first + (outputs >> (i + 1))];                                                        \
          theirs = upper ? mine : second;                                                                           \
          mine = upper ? second : mine;                                                                             \
        }                                                                                                           \
        sums[first] = mine + subgroupShuffleXor(theirs, width >> (i + 1));                                          \
      }                                                                                                             \
    }                                                                                                               \
  }

void main() {
  uint place = placeInGroup();
  uint lane = place % lanes;
  uint rowsAtOnce = gl_WorkGroupSize.x / lanes * tileRows;
  uint firstToken = (gl_WorkGroupID.z * gl_NumWorkGroups.x + gl_WorkGroupID.x) * tileTokens;
  if (firstToken >= tokens) return;
  uint blocks = columns / 32;
  uint stride = 2 * blocks + (blocks + 1) / 2;
  uint firstBlock = products > 1 ? 0 : columnStart / 32;
  uint rowColumns = products > 1 ? columns : storedColumns;

  uint runs = runsOf(products, rowsAtOnce);
  for (uint at = gl_WorkGroupID.y; at < runs; at += gl_NumWorkGroups.y) {
    uint run = at;
    Product product = productOf(products, rowsAtOnce, run);
    Matrix matrices[2] =
        Matrix[](matrixAt(product.weight, product.storedRows, rowColumns), matrixAt(up, storedRows, rowColumns));
    uint row = run * rowsAtOnce + place / lanes * tileRows;
    precise float sums[banks * outputs];
    [[unroll]] for (uint i = 0; i < banks * outputs; i++) sums[i] = 0.0;

    for (uint base = lane; base < blocks; base += lanes * depth) {
      RawGroup raw[depth * lines];
      // Of one row of activations as early as the weights; of several when they are wanted, from the cache.
      Activations ahead[depth];
      [[unroll]] for (uint d = 0; d < depth; d++) {
        // Blocks, rows and tokens past the end repeat the last one, and are not used.
        uint block = min(base + d * lanes, blocks - 1);
        [[unroll]] for (uint line = 0; line < lines; line++) {
          uint bank = line / tileRows;
          uint weightRow = (bank == 0 ? product.rowStart : upRowStart) + min(row + line % tileRows, product.rows - 1);
          raw[d * lines + line] = loadGroup(matrices[bank], weightRow, firstBlock + block);
        }
        if (tileTokens == 1) ahead[d] = activationsAt(firstToken, block, blocks, stride);
      }
      [[unroll]] for (uint d = 0; d < depth; d++) {
        uint block = min(base + d * lanes, blocks - 1);
        bool isInside = d == 0 || base + d * lanes < blocks;
        vec2 scales[lines];
        float minimums[lines];
        uint w[lines * 8];
        [[unroll]] for (uint line = 0; line < lines; line++) {
          RawGroup group = raw[d * lines + line];
          scales[line] = groupScales(group);
          minimums[line] = groupMinimum(group);
          [[unroll]] for (uint i = 0; i < 8; i++) w[8 * line + i] = unpack(group, i);
        }
        [[unroll]] for (uint t = 0; t < tileTokens; t++) {
          Activations a;
          if (tileTokens == 1) a = ahead[d];
          else a = activationsAt(min(firstToken + t, tokens - 1), block, blocks, stride);
          float scale = uintBitsToFloat(a.factors.x);
          int total = int(a.factors.y) >> 16;
#if PAIRS
          int lowStart = -QUANT_OFFSET * bitfieldExtract(int(a.factors.y), 0, 16);
          int highStart = -QUANT_OFFSET * total - lowStart;
#endif
          [[unroll]] for (uint line = 0; line < lines; line++) {
            uint b = 8 * line;
            uint i = line * tileTokens + t;
            precise float sum = sums[i];
#if PAIRS
            int low = dotHalf(lowStart, w[b], w[b + 1], w[b + 2], w[b + 3], a.low);
            int high = dotHalf(highStart, w[b + 4], w[b + 5], w[b + 6], w[b + 7], a.high);
            sum = fma(float(low), scales[line].x * scale, sum);
            sum = fma(float(high), scales[line].y * scale, sum);
#else
            int low = dotHalf(-QUANT_OFFSET * total, w[b], w[b + 1], w[b + 2], w[b + 3], a.low);
            int both = dotHalf(low, w[b + 4], w[b + 5], w[b + 6], w[b + 7], a.high);
            sum = fma(float(both), scales[line].x * scale, sum);
#endif
#if MINIMUMS
            sum = fma(minimums[line], scale * float(total), sum);
#endif
            sums[i] = isInside ? sum : sums[i];
          }
        }
      }
    }

    FOLD(0)
    FOLD(1)
    FOLD(2)
    FOLD(3)
    FOLD(4)
    FOLD(5)
    FOLD(6)
    // The first of the neighbours that have the same sums puts them out.
    uint tail = width >> folds;
    bool isFirst = lane % tail == 0;
    uint firstOutput = lane % width / tail * ended;
    if (parts == 1) {
      [[unroll]] for (uint v = 0; v < ended; v++) {
        uint r = (firstOutput + v) / tileTokens;
        uint t = (firstOutput + v) % tileTokens;
        if (!isFirst || row + r >= product.rows || firstToken + t >= tokens) continue;
        finish(product, firstToken + t, row + r, sums[v], sums[v + (banks - 1) * outputs]);
      }
    } else {
      // Whoever read the last run's sums has done so.
      barrier();
      uint subgroup = place / width;
      [[unroll]] for (uint i = 0; i < banks * ended; i++) {
        uint bank = i / ended;
        uint v = i % ended;
        if (isFirst) partials[(subgroup * banks + bank) * outputs + firstOutput + v] = sums[bank * outputs + v];
      }
      barrier();
      for (uint v = lane; v < outputs; v += lanes) {
        uint r = v / tileTokens;
        uint t = v % tileTokens;
        if (row + r >= product.rows || firstToken + t >= tokens) continue;
        precise float ends[2] = float[](0.0, 0.0);
        [[unroll]] for (uint bank = 0; bank < banks; bank++) {
          precise float sum = partials[(place / lanes * parts * banks + bank) * outputs + v];
          [[unroll]] for (uint part = 1; part < parts; part++) {
            sum = sum + partials[((place / lanes * parts + part) * banks + bank) * outputs + v];
          }
          ends[bank] = sum;
        }
        finish(product, firstToken + t, row + r, ends[0], ends[banks - 1]);
      }
    }
  }
}
