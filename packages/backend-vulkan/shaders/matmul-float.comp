// The product in IEEE f32 of f32 activations with weights of any type: the slow twin of the other forms, and the way of
// weights that are not quantized. `lanes` neighbours share a row: lane l takes units l, l + lanes, ... of its columns, one
// after the other, and the sums are added as a tree. That order depends on nothing but `lanes` and the columns.
#version 460
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_shuffle : require
#include "include/matmul.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 6) const uint lanes = 8;
// Weight rows and activation rows of one invocation.
layout(constant_id = 7) const uint tileRows = 1;
layout(constant_id = 8) const uint tileTokens = 1;
// Whether weight rows and activation rows can be read by vectors of 16 bytes. Columns are whole units then.
layout(constant_id = 9) const bool wideWeight = false;
layout(constant_id = 10) const bool wideX = false;
// Banks of rows: 2 for a gated pair.
layout(constant_id = 11) const uint banks = 1;
// Products of the dispatch.
layout(constant_id = 12) const uint products = 1;

// First column of the part of the weight that is read: several products take whole rows.
uint partStart() {
  return products > 1 ? 0 : columnStart;
}

// Columns that a lane takes at a time.
#if PLANES
#define UNIT 32
#else
#define UNIT VECTOR_ELEMENTS
#endif

#if !PLANES
void loadUnit(Vectors start, uint row, uint column, out float values[UNIT]) {
  uint index = row * (products > 1 ? columns : storedColumns) + partStart() + column;
  if (wideWeight) {
    uvec4 vector = start.at[index / VECTOR_ELEMENTS];
#if DTYPE == F32
    vec4 four = uintBitsToFloat(vector);
    [[unroll]] for (uint i = 0; i < 4; i++) values[i] = four[i];
#else
    [[unroll]] for (uint i = 0; i < UNIT; i += 2) {
      vec2 two = twoOf(vector, i);
      values[i] = two.x;
      values[i + 1] = two.y;
    }
#endif
    return;
  }
  [[unroll]] for (uint i = 0; i < UNIT; i++) {
    values[i] = column + i < columns ? elementAt(start, index + i) : 0.0;
  }
}
#else
void loadUnit(Matrix m, uint row, uint column, out float values[UNIT]) {
  RawGroup raw = loadGroup(m, row, (partStart() + column) / 32u);
  vec2 scales = groupScales(raw);
  float minimum = groupMinimum(raw);
  [[unroll]] for (uint word = 0; word < 8; word++) {
    vec4 four = decode(raw, word, scales[word / 4], minimum);
    [[unroll]] for (uint i = 0; i < 4; i++) values[4 * word + i] = four[i];
  }
}
#endif

void main() {
  uint place = placeInGroup();
  uint lane = place % lanes;
  uint rowsAtOnce = gl_WorkGroupSize.x / lanes * tileRows;
  uint firstToken = (gl_WorkGroupID.z * gl_NumWorkGroups.x + gl_WorkGroupID.x) * tileTokens;
  if (firstToken >= tokens) return;
  uint units = (columns + UNIT - 1) / UNIT;
  uint runs = runsOf(products, rowsAtOnce);
  for (uint at = gl_WorkGroupID.y; at < runs; at += gl_NumWorkGroups.y) {
    uint run = at;
    Product product = productOf(products, rowsAtOnce, run);
#if PLANES
    uint rowColumns = products > 1 ? columns : storedColumns;
    Matrix matrices[2] =
        Matrix[](matrixAt(product.weight, product.storedRows, rowColumns), matrixAt(up, storedRows, rowColumns));
#else
    Vectors matrices[2] = Vectors[](product.weight, up);
#endif
    uint row = run * rowsAtOnce + place / lanes * tileRows;
    precise float sums[banks * tileRows * tileTokens];
    [[unroll]] for (uint i = 0; i < banks * tileRows * tileTokens; i++) sums[i] = 0.0;
    for (uint unit = lane; unit < units; unit += lanes) {
      uint column = unit * UNIT;
      [[unroll]] for (uint bank = 0; bank < banks; bank++) {
        [[unroll]] for (uint r = 0; r < tileRows; r++) {
          // Rows and tokens past the end repeat the last one, and are not stored.
          uint weightRow = (bank == 0 ? product.rowStart : upRowStart) + min(row + r, product.rows - 1);
          float w[UNIT];
          loadUnit(matrices[bank], weightRow, column, w);
          [[unroll]] for (uint t = 0; t < tileTokens; t++) {
            uint at = min(firstToken + t, tokens - 1) * columns + column;
            precise float sum = sums[(bank * tileRows + r) * tileTokens + t];
            if (wideX) {
              [[unroll]] for (uint i = 0; i < UNIT; i += 4) {
                vec4 v = uintBitsToFloat(x.at[at / 4 + i / 4]);
                sum = fma(w[i], v.x, sum);
                sum = fma(w[i + 1], v.y, sum);
                sum = fma(w[i + 2], v.z, sum);
                sum = fma(w[i + 3], v.w, sum);
              }
            } else {
              // Columns beyond the end are left out, not multiplied by zeros, which would make NaN of an infinity.
              [[unroll]] for (uint i = 0; i < UNIT; i++) {
                if (PLANES || column + i < columns) sum = fma(w[i], FloatsIn(x).at[at + i], sum);
              }
            }
            sums[(bank * tileRows + r) * tileTokens + t] = sum;
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
