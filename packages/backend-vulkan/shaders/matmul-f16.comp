// The product of many rows of activations, rounded to f16, with weights of any type, by cooperative matrices with f32 sums.
//
// A workgroup makes a tile of tileRows weight rows (of each bank) by tileTokens activation rows: it walks the columns in
// steps of `depth`, decodes the weights of a step to f16 into shared memory beside the activations, and multiplies. What
// the next step needs is on its way in registers meanwhile. Each sum runs over the columns in order, in the units of the
// hardware's matrix: a row's result depends neither on the tile nor on the other rows.
//
// Prepared activations (matmul-prepare) are scaled by a power of two for each row; results are scaled back.
// Slow twin: matmul-float.comp.
#version 460
#pragma use_vulkan_memory_model
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#include "include/matmul.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 6) const uint tileRows = 64;
layout(constant_id = 7) const uint tileTokens = 64;
// Columns of a step: a multiple of 32 and of the matrix's own.
layout(constant_id = 8) const uint depth = 32;
// What of the tile a subgroup makes.
layout(constant_id = 9) const uint subgroupRows = 32;
layout(constant_id = 10) const uint subgroupTokens = 32;
// The hardware's matrix.
layout(constant_id = 11) const uint M = 16;
layout(constant_id = 12) const uint N = 16;
layout(constant_id = 13) const uint K = 16;
// Banks of rows: 2 for a gated pair.
layout(constant_id = 14) const uint banks = 1;

// Columns that are decoded together, and their 16-byte vectors once they are f16.
#if PLANES
#define UNIT 32
#else
#define UNIT 8
#endif
#define UNIT_VECTORS (UNIT / 8)

// Vectors from a row to the next in shared memory: one more than there are, so that rows begin in different banks.
const uint rowStride = depth / 8 + 1;
const uint weightVectors = banks * tileRows * rowStride;
const uint tokenVectors = tileTokens * rowStride;
const uint stepUnits = depth / UNIT;
const uint weightUnits = banks * tileRows * stepUnits;
const uint unitsEach = (weightUnits + gl_WorkGroupSize.x - 1) / gl_WorkGroupSize.x;
const uint stepVectors = depth / 8;
const uint tokenLoads = tileTokens * stepVectors;
const uint loadsEach = (tokenLoads + gl_WorkGroupSize.x - 1) / gl_WorkGroupSize.x;

// Weights, then activations of a step; at the end each subgroup's results.
shared uvec4 tile[weightVectors + tokenVectors];
// Of a result matrix there: [N, M floats and 4 more].
const uint resultStride = M / 4 + 1;

const uint blocksM = subgroupRows / M;
const uint blocksN = subgroupTokens / N;

#if PLANES

#define RawUnit RawGroup

// Columns 4 word, 4 word + 2, 4 word + 1, 4 word + 3 as f16: a number below 1,024 in the mantissa of 1,024 is a sum.
uvec2 decodeWord(RawGroup raw, uint word, f16vec2 scale, f16vec2 minimum) {
  uint quants = unpack(raw, word);
#if DTYPE == Q8_0 || DTYPE == IQ4_NL
  quants ^= 0x80808080u;
  const float16_t offset = 1152.0hf;
#else
  const float16_t offset = float16_t(1024.0 + float(QUANT_OFFSET));
#endif
  f16vec2 even = unpackFloat2x16((quants & 0x00ff00ffu) | 0x64006400u) - offset;
  f16vec2 odd = unpackFloat2x16(((quants >> 8) & 0x00ff00ffu) | 0x64006400u) - offset;
#if MINIMUMS
  return uvec2(packFloat2x16(fma(even, scale, minimum)), packFloat2x16(fma(odd, scale, minimum)));
#else
  return uvec2(packFloat2x16(even * scale), packFloat2x16(odd * scale));
#endif
}

void decodeUnit(RawGroup raw, out uvec4 vectors[UNIT_VECTORS]) {
  vec2 scales = groupScales(raw);
  f16vec2 minimum = f16vec2(float16_t(groupMinimum(raw)));
  [[unroll]] for (uint i = 0; i < UNIT_VECTORS; i++) {
    f16vec2 scale = f16vec2(float16_t(scales[i / 2]));
    vectors[i] = uvec4(decodeWord(raw, 2 * i, scale, minimum), decodeWord(raw, 2 * i + 1, scale, minimum));
  }
}

#else

struct RawUnit {
  uvec4 vectors[ELEMENT_BYTES / 2];
};

RawUnit loadUnit(Vectors start, uint row, uint unit) {
  RawUnit raw;
  uint vector = (row * storedColumns + columnStart + unit * UNIT) / VECTOR_ELEMENTS;
  [[unroll]] for (uint i = 0; i < ELEMENT_BYTES / 2; i++) raw.vectors[i] = start.at[vector + i];
  return raw;
}

void decodeUnit(RawUnit raw, out uvec4 vectors[UNIT_VECTORS]) {
#if DTYPE == F16
  vectors[0] = raw.vectors[0];
#elif DTYPE == BF16
  [[unroll]] for (uint i = 0; i < 4; i++) vectors[0][i] = packHalf2x16(twoOf(raw.vectors[0], 2 * i));
#else
  vec4 first = uintBitsToFloat(raw.vectors[0]);
  vec4 second = uintBitsToFloat(raw.vectors[1]);
  vectors[0] = uvec4(packHalf2x16(first.xy), packHalf2x16(first.zw), packHalf2x16(second.xy), packHalf2x16(second.zw));
#endif
}

#endif

void main() {
  uint place = placeInGroup();
  uint firstToken = gl_WorkGroupID.x * tileTokens;
  uint firstRow = (gl_WorkGroupID.z * gl_NumWorkGroups.y + gl_WorkGroupID.y) * tileRows;
  if (firstRow >= rows) return;
  // As matmul-prepare pads them, whatever the step.
  uint padded = (columns + 63) / 64 * 64;
  uint units = columns / UNIT;
#if PLANES
  Matrix matrices[2] = Matrix[](matrixAt(weight, storedRows, storedColumns), matrixAt(up, storedRows, storedColumns));
  uint firstUnit = columnStart / 32;
#else
  Vectors matrices[2] = Vectors[](weight, up);
  uint firstUnit = 0;
#endif
  uint subgroupsAlongRows = tileRows / subgroupRows;
  uint ownRow = gl_SubgroupID % subgroupsAlongRows * subgroupRows;
  uint ownToken = gl_SubgroupID / subgroupsAlongRows * subgroupTokens;

  coopmat<float, gl_ScopeSubgroup, M, N, gl_MatrixUseAccumulator> sums[banks * blocksM * blocksN];
  [[unroll]] for (uint i = 0; i < banks * blocksM * blocksN; i++) {
    sums[i] = coopmat<float, gl_ScopeSubgroup, M, N, gl_MatrixUseAccumulator>(0.0);
  }

  RawUnit raw[unitsEach];
  uvec4 loaded[loadsEach];
  uint steps = padded / depth;
  for (uint step = 0; step <= steps; step++) {
    // What the step before has fetched goes into shared memory, once nobody reads it any more.
    if (step > 0) {
      barrier();
      [[unroll]] for (uint i = 0; i < unitsEach; i++) {
        uint index = place + i * gl_WorkGroupSize.x;
        if (index >= weightUnits) continue;
        uint unit = index % stepUnits;
        uvec4 vectors[UNIT_VECTORS];
        decodeUnit(raw[i], vectors);
        bool beyond = (step - 1) * stepUnits + unit >= units;
        [[unroll]] for (uint j = 0; j < UNIT_VECTORS; j++) {
          tile[index / stepUnits * rowStride + unit * UNIT_VECTORS + j] = beyond ? uvec4(0) : vectors[j];
        }
      }
      [[unroll]] for (uint i = 0; i < loadsEach; i++) {
        uint index = place + i * gl_WorkGroupSize.x;
        if (index >= tokenLoads) continue;
        tile[weightVectors + index / stepVectors * rowStride + index % stepVectors] = loaded[i];
      }
      barrier();
    }
    if (step < steps) {
      [[unroll]] for (uint i = 0; i < unitsEach; i++) {
        uint index = min(place + i * gl_WorkGroupSize.x, weightUnits - 1);
        uint line = index / stepUnits;
        bool second = banks > 1 && line >= tileRows;
        // Rows, columns and tokens past the end repeat the last one; they are not stored, or taken as 0.
        uint row = min(firstRow + (second ? line - tileRows : line), rows - 1) + (second ? upRowStart : rowStart);
        uint unit = min(step * stepUnits + index % stepUnits, units - 1);
#if PLANES
        if (second) {
          raw[i] = loadGroup(matrices[1], row, firstUnit + unit);
        } else {
          raw[i] = loadGroup(matrices[0], row, firstUnit + unit);
        }
#else
        if (second) {
          raw[i] = loadUnit(up, row, unit);
        } else {
          raw[i] = loadUnit(weight, row, unit);
        }
#endif
      }
      [[unroll]] for (uint i = 0; i < loadsEach; i++) {
        uint index = min(place + i * gl_WorkGroupSize.x, tokenLoads - 1);
        uint token = min(firstToken + index / stepVectors, tokens - 1);
        loaded[i] = x.at[token * (padded / 8) + step * stepVectors + index % stepVectors];
      }
    }
    if (step > 0) {
      [[unroll]] for (uint k = 0; k < depth / K; k++) {
        coopmat<float16_t, gl_ScopeSubgroup, M, K, gl_MatrixUseA> a[banks * blocksM];
        [[unroll]] for (uint bank = 0; bank < banks; bank++) {
          [[unroll]] for (uint m = 0; m < blocksM; m++) {
            coopMatLoad(a[bank * blocksM + m], tile, (bank * tileRows + ownRow + m * M) * rowStride + k * (K / 8),
                        rowStride, gl_CooperativeMatrixLayoutRowMajor);
          }
        }
        [[unroll]] for (uint n = 0; n < blocksN; n++) {
          coopmat<float16_t, gl_ScopeSubgroup, K, N, gl_MatrixUseB> b;
          coopMatLoad(b, tile, weightVectors + (ownToken + n * N) * rowStride + k * (K / 8), rowStride,
                      gl_CooperativeMatrixLayoutColumnMajor);
          [[unroll]] for (uint m = 0; m < banks * blocksM; m++) {
            sums[m * blocksN + n] = coopMatMulAdd(a[m], b, sums[m * blocksN + n]);
          }
        }
      }
    }
  }

  // Through shared memory, since which element an invocation holds is the hardware's secret.
  barrier();
  const uint resultVectors = N * resultStride;
  uint own = gl_SubgroupID * banks * resultVectors;
  [[unroll]] for (uint m = 0; m < blocksM; m++) {
    [[unroll]] for (uint n = 0; n < blocksN; n++) {
      [[unroll]] for (uint bank = 0; bank < banks; bank++) {
        coopMatStore(sums[(bank * blocksM + m) * blocksN + n], tile, own + bank * resultVectors, resultStride,
                     gl_CooperativeMatrixLayoutColumnMajor);
      }
      subgroupMemoryBarrierShared();
      subgroupBarrier();
      for (uint element = gl_SubgroupInvocationID; element < M * N; element += gl_SubgroupSize) {
        uint row = firstRow + ownRow + m * M + element % M;
        uint token = firstToken + ownToken + n * N + element / M;
        if (row >= rows || token >= tokens) continue;
        float back = FloatsIn(x).at[tokens * padded / 2 + token];
        uint at = own + element / M * resultStride + element % M / 4;
        float value = uintBitsToFloat(tile[at][element & 3]) * back;
        float upValue = banks > 1 ? uintBitsToFloat(tile[at + resultVectors][element & 3]) * back : 0.0;
        finish(token, row, value, upValue);
      }
      subgroupBarrier();
    }
  }
}
