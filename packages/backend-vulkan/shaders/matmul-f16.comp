// The product of many rows of activations, rounded to f16, with weights of any type, by cooperative matrices with f32 sums.
//
// A workgroup makes a tile of tileRows weight rows (of each bank) by tileTokens activation rows: it walks the columns in
// steps of `depth`. A step's weights, decoded to f16, and its activations lie in one half of shared memory, while those of
// the next step come from registers into the other half and those of the AHEAD steps after it are on their way from memory
// into as many sets of registers: one barrier a step. Each sum runs over the columns in order, in the units of the hardware's
// matrix: a row's result depends neither on the tile nor on the other rows.
//
// Where a weight has too few rows to occupy the device its columns are cut in `slices`, each a workgroup of its own. The
// one that ends last adds their sums, in order. The cut follows from the weight and the device, up to the
// tokens above which there is none.
//
// Prepared activations (matmul-prepare) are scaled by a power of two for each row; results are scaled back.
// Slow twin: matmul-float.comp.
#version 460
#pragma use_vulkan_memory_model
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_shader_subgroup_basic : require
#if !EMULATED
#extension GL_KHR_cooperative_matrix : require
#endif
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#include "include/matmul.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 6) const uint tileRows = 64;
layout(constant_id = 7) const uint tileTokens = 64;
// Columns of a step: 32 or 64.
layout(constant_id = 8) const uint depth = 32;
// Rows and tokens of the tile that a subgroup makes.
layout(constant_id = 9) const uint subgroupRows = 32;
layout(constant_id = 10) const uint subgroupTokens = 32;
// Banks of rows: 2 for a gated pair.
layout(constant_id = 11) const uint banks = 1;
layout(constant_id = 12) const uint slices = 1;

// Sums of the slices of a tile: all matrices of a slice, one behind the other, then the next slice's.
layout(buffer_reference, scalar, buffer_reference_align = 16) coherent buffer Partials {
  float at[];
};
layout(buffer_reference, scalar, buffer_reference_align = 4) coherent buffer Counters {
  uint at[];
};
// They take places that only several products in one dispatch have, which this form does not make.
#define partials Partials(thirdResult)
#define counters Counters(thirdBias)

// Rows, columns and depth of the hardware's matrix.
#define SIDE 16

// Slices begin at multiples of so many columns, whatever the step.
const uint sliceColumns = 64;

// 16-byte vectors of f16 that columns which are decoded together make: a whole group, whose scale is read once.
#if PLANES
#define UNIT_VECTORS 4
#else
#define UNIT_VECTORS 1
#endif

// Vectors from a line to the next in shared memory: one more than there are, so that eight lines lie in all banks.
const uint lineVectors = depth / 8 + 1;
const uint stepVectors = depth / 8;
const uint stepUnits = stepVectors / UNIT_VECTORS;
const uint weightLines = banks * tileRows;
const uint halfVectors = (weightLines + tileTokens) * lineVectors;
// Lines that the workgroup loads at once; lines, therefore, of an invocation: at most MOST_UNITS and MOST_VECTORS.
const uint unitLines = gl_WorkGroupSize.x / stepUnits;
const uint vectorLines = gl_WorkGroupSize.x / stepVectors;
const uint unitsEach = (weightLines + unitLines - 1) / unitLines;
const uint vectorsEach = (tileTokens + vectorLines - 1) / vectorLines;

const uint subgroups = tileRows / subgroupRows * (tileTokens / subgroupTokens);
// At the end each subgroup passes a matrix of sums of each bank: lines of 16 floats and 4 more.
const uint resultVectors = 5;
const uint ownVectors = banks * SIDE * resultVectors;
// clang-format off
const uint tileVectors = 2 * halfVectors > subgroups * ownVectors ? 2 * halfVectors : subgroups * ownVectors;
// clang-format on

// Two halves, each with weights, then activations of a step; at the end each subgroup's results.
shared uvec4 tile[tileVectors];
shared bool isLast;

// Matrices of a subgroup: of weights in all banks, at most MOST_M; of tokens, at most MOST_N.
const uint bankM = subgroupRows / SIDE;
const uint blocksM = banks * bankM;
const uint blocksN = subgroupTokens / SIDE;

// Compilers keep an array in registers where every index is a literal: loops over arrays run to literal ends and are
// unrolled, and ask specialization constants inside. The optimizer unrolls none that holds another. The twin of `limits`
// in src/kernel/matrix-tile.ts.
#if EMULATED
#define MOST_M blocksM
#define MOST_N blocksN
#define MOST_UNITS unitsEach
#define MOST_VECTORS vectorsEach
#else
#define MOST_M 4
#define MOST_N 4
#define MOST_UNITS (8 / UNIT_VECTORS)
#define MOST_VECTORS 8
#endif

#include "include/fragment.glsl"

#if PLANES

#define RawUnit RawGroup

// Columns 4 word, 4 word + 2, 4 word + 1, 4 word + 3 as f16: a number below 1,024 in the mantissa of 1,024 is a sum.
uvec2 decodeWord(RawUnit raw, uint word, f16vec2 scale, f16vec2 minimum) {
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

// Into shared memory from `place`. Columns past the end are 0.
void decodeUnit(RawUnit raw, uint place, bool beyond) {
#if SUPERS
  raw.supers = beyond ? 0 : raw.supers;
  vec2 scales = groupScales(raw);
  f16vec2 first = f16vec2(float16_t(scales.x));
  f16vec2 second = f16vec2(float16_t(scales.y));
  f16vec2 minimum = f16vec2(float16_t(groupMinimum(raw)));
#else
  f16vec2 factors = unpackFloat2x16(beyond ? 0 : raw.scales);
  f16vec2 first = factors.xx;
  f16vec2 second = factors.xx;
  f16vec2 minimum = factors.yy;
#endif
  tile[place] = uvec4(decodeWord(raw, 0, first, minimum), decodeWord(raw, 1, first, minimum));
  tile[place + 1] = uvec4(decodeWord(raw, 2, first, minimum), decodeWord(raw, 3, first, minimum));
  tile[place + 2] = uvec4(decodeWord(raw, 4, second, minimum), decodeWord(raw, 5, second, minimum));
  tile[place + 3] = uvec4(decodeWord(raw, 6, second, minimum), decodeWord(raw, 7, second, minimum));
}

#else

// Eight columns.
struct RawUnit {
  uvec4 vectors[ELEMENT_BYTES / 2];
};

void decodeUnit(RawUnit raw, uint place, bool beyond) {
#if DTYPE == F16
  uvec4 values = raw.vectors[0];
#elif DTYPE == BF16
  uvec4 values;
  UNROLL for (uint i = 0; i < 4; i++) values[i] = packHalf2x16(twoOf(raw.vectors[0], 2 * i));
#else
  vec4 first = uintBitsToFloat(raw.vectors[0]);
  vec4 second = uintBitsToFloat(raw.vectors[1]);
  uvec4 values =
      uvec4(packHalf2x16(first.xy), packHalf2x16(first.zw), packHalf2x16(second.xy), packHalf2x16(second.zw));
#endif
  tile[place] = beyond ? uvec4(0) : values;
}

#endif

// The vectors of steps to come that an invocation holds, in AHEAD sets: 1 or 2.
RawUnit raw[AHEAD * MOST_UNITS];
uvec4 loaded[AHEAD * MOST_VECTORS];
// Where the invocation takes them from: the bank, and in it the group (without planes: the vector) with which the row begins;
// the vector with which the token begins.
Vectors unitStart[MOST_UNITS];
uint unitRow[MOST_UNITS];
uint vectorToken[MOST_VECTORS];

// An invocation's lines, and its place in them: unit and vector.
uint ownUnitLine, ownUnit, ownVectorLine, ownVector;
// Units of a row.
uint units;
#if PLANES
Matrix matrix;
#endif

void findLines(uint firstRow, uint firstToken, uint paddedVectors) {
  uint place = placeInGroup();
  // Neighbours take neighbours of a line: that spares memory more than it costs that some of them store to the same bank.
  ownUnitLine = place / stepUnits;
  ownUnit = place % stepUnits;
  ownVectorLine = place / stepVectors;
  ownVector = place % stepVectors;
#if PLANES
  matrix = matrixAt(weight, storedRows, storedColumns);
#endif
  UNROLL for (uint i = 0; i < MOST_UNITS; i++) if (i < unitsEach) {
    // Rows and tokens past the end repeat the last one; they are not stored.
    uint line = min(ownUnitLine + i * unitLines, weightLines - 1);
    bool second = banks > 1 && line >= tileRows;
    uint row = min(firstRow + (second ? line - tileRows : line), rows - 1) + (second ? upRowStart : rowStart);
    if (second) {
      unitStart[i] = up;
    } else {
      unitStart[i] = weight;
    }
#if PLANES
    unitRow[i] = row * matrix.rowGroups + columnStart / 32;
#else
    unitRow[i] = (row * storedColumns + columnStart) / VECTOR_ELEMENTS;
#endif
  }
  UNROLL for (uint i = 0; i < MOST_VECTORS; i++) if (i < vectorsEach) {
    uint line = min(ownVectorLine + i * vectorLines, tileTokens - 1);
    vectorToken[i] = min(firstToken + line, tokens - 1) * paddedVectors + ownVector;
  }
}

// `set` is a literal.
void fetch(uint step, uint set) {
  uint unit = min(step * stepUnits + ownUnit, units - 1);
  UNROLL for (uint i = 0; i < MOST_UNITS; i++) if (i < unitsEach) {
#if PLANES
    matrix.start = unitStart[i];
    raw[set * MOST_UNITS + i] = loadGroup(matrix, 0, unitRow[i] + unit);
#else
    UNROLL for (uint j = 0; j < ELEMENT_BYTES / 2; j++) {
      raw[set * MOST_UNITS + i].vectors[j] = unitStart[i].at[unitRow[i] + unit * (ELEMENT_BYTES / 2) + j];
    }
#endif
  }
  UNROLL for (uint i = 0; i < MOST_VECTORS; i++) {
    if (i < vectorsEach) loaded[set * MOST_VECTORS + i] = x.at[vectorToken[i] + step * stepVectors];
  }
}

// What was fetched for the step goes into a half of shared memory, which begins at `base`. `set` is a literal.
void put(uint step, uint set, uint base) {
  bool beyond = step * stepUnits + ownUnit >= units;
  UNROLL for (uint i = 0; i < MOST_UNITS; i++) if (i < unitsEach) {
    uint line = ownUnitLine + i * unitLines;
    if (weightLines % unitLines == 0 || line < weightLines) {
      decodeUnit(raw[set * MOST_UNITS + i], base + line * lineVectors + ownUnit * UNIT_VECTORS, beyond);
    }
  }
  UNROLL for (uint i = 0; i < MOST_VECTORS; i++) if (i < vectorsEach) {
    uint line = ownVectorLine + i * vectorLines;
    if (tileTokens % vectorLines == 0 || line < tileTokens) {
      tile[base + (weightLines + line) * lineVectors + ownVector] = loaded[set * MOST_VECTORS + i];
    }
  }
}

// Whether the matrix is one of the subgroup's.
bool isOwn(uint index) {
  return index / MOST_N < blocksM && index % MOST_N < blocksN;
}

void clearAll() {
  UNROLL for (uint i = 0; i < MOST_M * MOST_N; i++) clearSums(i);
}

// Adds 16 columns of a half of shared memory to the sums of the subgroup, whose part begins at these lines.
void multiplyColumns(uint base, uint k, uint ownRow, uint ownToken) {
  WeightFactor a[MOST_M];
  TokenFactor b[MOST_N];
  UNROLL for (uint m = 0; m < MOST_M; m++) {
    uint line = m / bankM * tileRows + ownRow + m % bankM * SIDE;
    if (m < blocksM) loadWeights(a[m], base + line * lineVectors + 2 * k);
  }
  UNROLL for (uint n = 0; n < MOST_N; n++) {
    uint line = weightLines + ownToken + n * SIDE;
    if (n < blocksN) loadTokens(b[n], base + line * lineVectors + 2 * k);
  }
  UNROLL for (uint i = 0; i < MOST_M * MOST_N; i++) {
    if (isOwn(i)) addProduct(a[i / MOST_N], b[i % MOST_N], i);
  }
}

// Multiplies the steps from `first` until before `end`, which pass through shared memory in turns. Past the end, what was
// there last is fetched and put once more: nobody reads it.
#if AHEAD == 1
void walk(uint first, uint end, uint ownRow, uint ownToken) {
  uint last = end - 1;
  fetch(first, 0);
  put(first, 0, 0);
  fetch(min(first + 1, last), 0);
  barrier();
  uint base = 0;
  for (uint step = first; step < end; step++) {
    UNROLL for (uint k = 0; k < depth / SIDE; k++) multiplyColumns(base, k, ownRow, ownToken);
    base = halfVectors - base;
    put(min(step + 1, last), 0, base);
    fetch(min(step + 2, last), 0);
    barrier();
  }
}
#else
void multiplyStep(uint base, uint ownRow, uint ownToken) {
  multiplyColumns(base, 0, ownRow, ownToken);
  multiplyColumns(base, 1, ownRow, ownToken);
  if (depth > 2 * SIDE) {
    multiplyColumns(base, 2, ownRow, ownToken);
    multiplyColumns(base, 3, ownRow, ownToken);
  }
}

// Two steps at a time, so that sets and halves are literals.
void walk(uint first, uint end, uint ownRow, uint ownToken) {
  uint last = end - 1;
  fetch(first, 0);
  fetch(min(first + 1, last), 1);
  put(first, 0, 0);
  fetch(min(first + 2, last), 0);
  barrier();
  for (uint step = first; step < end; step += 2) {
    multiplyStep(0, ownRow, ownToken);
    put(min(step + 1, last), 1, halfVectors);
    fetch(min(step + 3, last), 1);
    barrier();
    // Slices are whole pairs of steps of 32 columns.
    if (2 * depth == sliceColumns || step < last) multiplyStep(halfVectors, ownRow, ownToken);
    put(min(step + 2, last), 0, 0);
    fetch(min(step + 4, last), 0);
    barrier();
  }
}
#endif

// Stores this slice's sums for the workgroup that ends last. True for that one, which then has the sums of all slices.
bool mergeSlices(uint tileIndex, uint slice) {
  const uint matrixFloats = SIDE * SIDE;
  const uint sliceFloats = subgroups * blocksM * blocksN * matrixFloats;
  uint first = tileIndex * slices * sliceFloats + gl_SubgroupID * blocksM * blocksN * matrixFloats;
  UNROLL for (uint i = 0; i < MOST_M * MOST_N; i++) {
    uint place = first + (i / MOST_N * blocksN + i % MOST_N) * matrixFloats;
    if (isOwn(i)) storePartial(i, place + slice * sliceFloats);
  }
  memoryBarrier(gl_ScopeQueueFamily, gl_StorageSemanticsBuffer, gl_SemanticsRelease | gl_SemanticsMakeAvailable);
  barrier();
  if (placeInGroup() == 0) {
    isLast = atomicAdd(counters.at[tileIndex], 1u) == slices - 1;
    // As the next dispatch expects it.
    if (isLast) counters.at[tileIndex] = 0;
  }
  barrier();
  if (!isLast) return false;
  memoryBarrier(gl_ScopeQueueFamily, gl_StorageSemanticsBuffer, gl_SemanticsAcquire | gl_SemanticsMakeVisible);
  clearAll();
  for (uint other = 0; other < slices; other++) {
    UNROLL for (uint i = 0; i < MOST_M * MOST_N; i++) {
      uint place = first + (i / MOST_N * blocksN + i % MOST_N) * matrixFloats;
      if (isOwn(i)) addPartial(i, place + other * sliceFloats);
    }
  }
  return true;
}

void main() {
  uint tokenTiles = gl_NumWorkGroups.x / slices;
  uint slice = gl_WorkGroupID.x / tokenTiles;
  uint rowTile = gl_WorkGroupID.z * gl_NumWorkGroups.y + gl_WorkGroupID.y;
  uint tokenTile = gl_WorkGroupID.x % tokenTiles;
  uint firstToken = tokenTile * tileTokens;
  uint firstRow = rowTile * tileRows;
  if (firstRow >= rows) return;
  // As matmul-prepare pads them, whatever the step.
  uint padded = (columns + sliceColumns - 1) / sliceColumns * sliceColumns;
  units = columns / (8 * UNIT_VECTORS);
  uint subgroupsAlongRows = tileRows / subgroupRows;
  uint ownRow = gl_SubgroupID % subgroupsAlongRows * subgroupRows;
  uint ownToken = gl_SubgroupID / subgroupsAlongRows * subgroupTokens;
  clearAll();

  uint cuts = padded / sliceColumns;
  uint sliceCuts = (cuts + slices - 1) / slices;
  uint first = min(slice * sliceCuts, cuts) * (sliceColumns / depth);
  uint end = min((slice + 1) * sliceCuts, cuts) * (sliceColumns / depth);
  if (first < end) {
    findLines(firstRow, firstToken, padded / 8);
    walk(first, end, ownRow, ownToken);
  }
  if (slices > 1) {
    if (!mergeSlices(rowTile * tokenTiles + tokenTile, slice)) return;
  }

  // Through shared memory, since which element an invocation holds is the hardware's secret.
  uint own = gl_SubgroupID * ownVectors;
  for (uint block = 0; block < bankM * blocksN; block++) {
    uint m = block / blocksN;
    uint n = block % blocksN;
    UNROLL for (uint i = 0; i < MOST_M * MOST_N; i++) {
      uint bank = i / MOST_N / bankM;
      if (isOwn(i) && i / MOST_N % bankM == m && i % MOST_N == n) storeSums(i, own + bank * SIDE * resultVectors);
    }
    subgroupMemoryBarrierShared();
    subgroupBarrier();
    for (uint element = gl_SubgroupInvocationID; element < SIDE * SIDE; element += gl_SubgroupSize) {
      uint row = firstRow + ownRow + m * SIDE + element % SIDE;
      uint token = firstToken + ownToken + n * SIDE + element / SIDE;
      if (row < rows && token < tokens) {
        float back = FloatsIn(x).at[tokens * padded / 2 + token];
        uint at = own + element / SIDE * resultVectors + element % SIDE / 4;
        float value = uintBitsToFloat(tile[at][element & 3]) * back;
        float upValue = banks > 1 ? uintBitsToFloat(tile[at + SIDE * resultVectors][element & 3]) * back : 0.0;
        finish(token, row, value, upValue);
      }
    }
    subgroupMemoryBarrierShared();
    subgroupBarrier();
  }
}
