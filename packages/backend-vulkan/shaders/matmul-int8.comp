// The product of few rows of int8 activations with weights in planes, as fast as the weights can be read.
//
// `lanes` neighbours share a row of weights: lane l takes blocks l, l + lanes, ... of 32 columns, and for each
//   sum = fma(float(exact int32 dot), weightScale * activationScale, sum)      (twice where scales cover 16 columns)
//   sum = fma(weightMinimum, activationScale * float(activationSum), sum)      (types with minimums)
// then the lanes' sums are added as a tree. Nothing of this depends on the number of activation rows or their order, so a
// row's result is the same in every batch, bit for bit. Slow twin: matmul-float.comp over decoded weights.
#version 460
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_shuffle : require
#extension GL_EXT_integer_dot_product : require
#include "include/matmul.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 6) const uint lanes = 8;
// Weight rows (of each bank) and activation rows of one invocation.
layout(constant_id = 7) const uint tileRows = 1;
layout(constant_id = 8) const uint tileTokens = 1;
// Blocks of a row that a lane loads before it uses the first.
layout(constant_id = 9) const uint depth = 1;
// Banks of rows: 2 for a gated pair.
layout(constant_id = 10) const uint banks = 1;
// Products of the dispatch.
layout(constant_id = 11) const uint products = 1;

struct Activations {
  uvec4 low;
  uvec4 high;
  float scale;
  uint sums;
};

Activations activationsAt(uint token, uint block, uint blocks, uint stride) {
  Activations a;
  uint at = token * stride + block;
  a.low = x.at[at];
  a.high = x.at[at + blocks];
  uvec2 factors = WordPairsIn(x).at[2 * (token * stride + 2 * blocks) + block];
  a.scale = uintBitsToFloat(factors.x);
  a.sums = factors.y;
  return a;
}

int dotHalf(uint a0, uint a1, uint a2, uint a3, uvec4 b) {
  return dotPacked4x8EXT(int(a0), int(b.x)) + dotPacked4x8EXT(int(a1), int(b.y)) + dotPacked4x8EXT(int(a2), int(b.z)) +
         dotPacked4x8EXT(int(a3), int(b.w));
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
    precise float sums[banks * tileRows * tileTokens];
    [[unroll]] for (uint i = 0; i < banks * tileRows * tileTokens; i++) sums[i] = 0.0;
    for (uint base = lane; base < blocks; base += lanes * depth) {
      RawGroup raw[depth * banks * tileRows];
      [[unroll]] for (uint d = 0; d < depth; d++) {
        uint block = min(base + d * lanes, blocks - 1);
        [[unroll]] for (uint bank = 0; bank < banks; bank++) {
          [[unroll]] for (uint r = 0; r < tileRows; r++) {
            // Rows and tokens past the end repeat the last one, and are not stored.
            uint weightRow = (bank == 0 ? product.rowStart : upRowStart) + min(row + r, product.rows - 1);
            raw[(d * banks + bank) * tileRows + r] = loadGroup(matrices[bank], weightRow, firstBlock + block);
          }
        }
      }
      [[unroll]] for (uint d = 0; d < depth; d++) {
        uint block = base + d * lanes;
        if (block < blocks) {
          vec2 scales[banks * tileRows];
          float minimums[banks * tileRows];
          uint w[banks * tileRows * 8];
          [[unroll]] for (uint b = 0; b < banks * tileRows; b++) {
            RawGroup group = raw[d * banks * tileRows + b];
            scales[b] = groupScales(group);
            minimums[b] = groupMinimum(group);
            [[unroll]] for (uint i = 0; i < 8; i++) w[8 * b + i] = unpack(group, i);
          }
          [[unroll]] for (uint t = 0; t < tileTokens; t++) {
            Activations a = activationsAt(min(firstToken + t, tokens - 1), block, blocks, stride);
            int total = int(a.sums) >> 16;
            [[unroll]] for (uint b = 0; b < banks * tileRows; b++) {
              precise float sum = sums[b * tileTokens + t];
              int low = dotHalf(w[8 * b], w[8 * b + 1], w[8 * b + 2], w[8 * b + 3], a.low);
              int high = dotHalf(w[8 * b + 4], w[8 * b + 5], w[8 * b + 6], w[8 * b + 7], a.high);
#if PAIRS
              int lowTotal = bitfieldExtract(int(a.sums), 0, 16);
              sum = fma(float(low - QUANT_OFFSET * lowTotal), scales[b].x * a.scale, sum);
              sum = fma(float(high - QUANT_OFFSET * (total - lowTotal)), scales[b].y * a.scale, sum);
#else
              sum = fma(float(low + high - QUANT_OFFSET * total), scales[b].x * a.scale, sum);
#endif
#if MINIMUMS
              sum = fma(minimums[b], a.scale * float(total), sum);
#endif
              sums[b * tileTokens + t] = sum;
            }
          }
        }
      }
    }
    [[unroll]] for (uint i = 0; i < banks * tileRows * tileTokens; i++) {
      for (uint step = lanes / 2; step > 0; step /= 2) sums[i] = sums[i] + subgroupShuffleXor(sums[i], step);
    }
    [[unroll]] for (uint r = 0; r < tileRows; r++) {
      [[unroll]] for (uint t = 0; t < tileTokens; t++) {
        uint i = r * tileTokens + t;
        if (lane != i % lanes || row + r >= product.rows || firstToken + t >= tokens) continue;
        finish(product, firstToken + t, row + r, sums[i], sums[i + (banks - 1) * tileRows * tileTokens]);
      }
    }
  }
}
