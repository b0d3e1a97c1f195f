// The interface of the CPU kernels: element types, packed weights, quantized activations, matrix products, paged
// attention, recurrent state and vector mathematics. Plain C++17 without threads, allocation or exceptions: the caller owns
// the memory and splits the ranges over its threads. Ops of graphs, weight files and N-API are the runtime's.
//
// Every function in `Kernels` exists once per SIMD level; `selectKernels` gives the table of a level. All sizes are in
// elements unless the name says bytes. Arguments are trusted: the runtime validates them once, when it compiles a graph.
//
// Inline functions here are `static`: a shared copy could be the one that was compiled for a newer processor.
//
// Determinism: the result of a row never depends on the other rows of a call, on the range that a call covers, or on
// the number of threads. Levels may differ from each other in the last bits.
#pragma once

#include <cstddef>
#include <cstdint>

namespace unicorn {

// ---------------------------------------------------------------- element types

// Same names, order and values as `dtypes` in packages/tensor/src/dtype.ts.
enum class DType : int32_t {
  // clang-format off
  f64, f32, f16, bf16, i64, i32, i16, i8, u64, u32, u16, u8, boolean,
  q4_0, q4_1, q5_0, q5_1, q8_0,
  q2_k, q3_k, q4_k, q5_k, q6_k,
  iq1_s, iq1_m, iq2_xxs, iq2_xs, iq2_s, iq3_xxs, iq3_s, iq4_nl, iq4_xs,
  tq1_0, tq2_0, mxfp4, nvfp4,
  // clang-format on
};
constexpr int32_t dtypeCount = 36;

struct DTypeLayout {
  int32_t blockSize;   // elements in one block; 1 for scalar types
  int32_t blockBytes;  // bytes of one block
};

DTypeLayout dtypeLayout(DType dtype);

// "q4_0" and so on, the names of dtype.ts.
const char* dtypeName(DType dtype);

// Bytes of `elements` consecutive elements of one row; `elements` is a multiple of the block size.
int64_t rowBytes(DType dtype, int64_t elements);

float halfToFloat(uint16_t bits);
uint16_t floatToHalf(float value);  // to nearest even
float bfloatToFloat(uint16_t bits);
uint16_t floatToBfloat(float value);  // to nearest even, NaN stays NaN

// Scalar decode of `count` consecutive elements of a row (a multiple of the block size) to f32, bit-exact with
// packages/tensor/src/format. `source` needs no alignment.
void decodeRow(DType dtype, const uint8_t* source, int64_t count, float* out);

// ---------------------------------------------------------------- packed weights
//
// A packed matrix holds groups of 16 rows; a group holds, for each run of `packedBlockSize` columns, the quants of its
// 16 rows interleaved four columns at a time (one 32-bit lane per row), then their scales. Groups lie back to back,
// `packedGroupBytes` apart; rows beyond the last are zero. A view that keeps the first columns (a multiple of the block
// size) or starts at a row that is a multiple of 16 works in place.

constexpr int64_t groupRows = 16;

// True when a matrix of this type and shape has a packed form (int8 dot products). Everything else stays raw.
bool packable(DType dtype, int64_t rows, int64_t columns);

// Columns in one packed block: 32, or 256 for the K types. 0 when the type has no packed form.
int64_t packedBlockSize(DType dtype);

int64_t packedGroupBytes(DType dtype, int64_t columns);
int64_t packedBytes(DType dtype, int64_t rows, int64_t columns);

// Packs groups [groupBegin, groupEnd) of a raw matrix [rows, columns] whose row r starts at source + r * rowStrideBytes.
// `packed` is the start of the whole packed matrix (64-byte aligned). Scalar: `Kernels::pack` is the fast one.
void packGroups(DType dtype, const uint8_t* source, int64_t rowStrideBytes, int64_t rows, int64_t columns,
                int64_t groupBegin, int64_t groupEnd, uint8_t* packed);

// First `count` elements (a multiple of the packed block size) of row `row` of a packed matrix of `columns` stored
// columns: exactly the values that `decodeRow` gives for the raw row.
void decodePackedRow(DType dtype, const uint8_t* packed, int64_t columns, int64_t row, int64_t count, float* out);

static inline int64_t groupCount(int64_t rows) { return (rows + groupRows - 1) / groupRows; }

// ---------------------------------------------------------------- quantized activations
//
// A row of activations is cut into blocks of 32: int8 quants of scale max|x| / 127. A block with a value that is not
// finite gets the scale NaN, so that what reads it becomes NaN.

struct ActivationBlock {
  int8_t quants[32];
  float scale;
  float scaledSum;         // scale * sum of the 32 quants
  int32_t negativeSum;     // -(sum of the 32 quants)
  int32_t negativeSumLow;  // -(sum of the first 16 quants)
};
static_assert(sizeof(ActivationBlock) == 48, "the kernels address blocks by this stride");

constexpr int64_t activationBlockSize = 32;

// Bytes from one quantized row to the next. An odd number of cache lines, so that the rows of a tile do not fall into
// the same few L1 sets.
static inline int64_t activationRowBytes(int64_t columns) {
  const int64_t bytes = columns / activationBlockSize * static_cast<int64_t>(sizeof(ActivationBlock));
  return ((bytes + 63) / 64 | 1) * 64;
}

// ---------------------------------------------------------------- functions of one element

enum class Activation : int32_t { silu, geluTanh, relu, tanh, sigmoid };  // names of op/activation.ts

// ---------------------------------------------------------------- matrix products

// Added to every result: out[row, column] = product + bias[column] + residual[row, column], in this order.
struct Epilogue {
  const float* bias = nullptr;      // [n] or absent
  const float* residual = nullptr;  // [rows, n] or absent; may be `out` itself
  int64_t residualStride = 0;       // elements
};

// How a matrix lies in memory, and how products read it:
//   raw      rows as in the file, decoded to f32
//   packed   groups of 16 interleaved rows, as above
//   inPlace  rows as in the file; the products pack them into their scratch on the way, so that results are those of
//            `packed`, bit for bit
enum class WeightForm : int32_t { raw, packed, inPlace };

// out[row, column] = sum over k of activation[row, k] * weight[column, k].
struct QuantizedMatmul {
  const uint8_t* activations;  // quantized rows, `activationRowBytes(columns)` apart, 64-byte aligned
  const uint8_t* weights;      // packed: the matrix, or its group where the view starts; inPlace: the view's first row
  DType dtype;                 // type of the weights
  WeightForm form;             // packed or inPlace
  int64_t rowStrideBytes;      // inPlace only: from one stored row to the next
  int64_t columns;             // k of this product: a multiple of the packed block size, at most storedColumns
  int64_t storedColumns;       // packed only: k of the stored matrix
  int64_t weightRows;          // n of this product
  float* out;                  // [rows, n]
  int64_t outStride;           // elements from one row of out to the next
  Epilogue epilogue;
};

struct FloatMatmul {
  const float* activations;  // [rows, columns]
  int64_t activationStride;  // elements
  const uint8_t* weights;    // raw and inPlace: first byte of the view's first row; packed: as in QuantizedMatmul
  DType dtype;
  WeightForm form;
  int64_t rowStrideBytes;  // raw and inPlace: from one stored row to the next
  int64_t columns;         // k of this product; a multiple of the type's block size
  int64_t storedColumns;   // packed only
  int64_t weightRows;      // n of this product
  float* out;
  int64_t outStride;
  Epilogue epilogue;
};

// ---------------------------------------------------------------- attention over the paged KV state

// One state [blocks, parts, kvHeads, blockTokens, headDim] of f32, f16, bf16 or q8_0 (headDim a multiple of 32 there).
struct Attention {
  const float* query;  // [rows, heads, headDim]
  const uint8_t* state;
  DType stateDType;
  int64_t stateBlocks;
  int64_t stateParts = 2;  // keys and values; 1: keys alone, which are the values too
  int64_t rows, heads, kvHeads, headDim, blockTokens;
  const int32_t* positions;    // [rows]
  const int32_t* starts;       // [sequences]; a sequence ends where the next begins
  const int32_t* blockTables;  // [sequences, tableColumns]
  const int32_t* reach;        // [rows], or absent: a row's own position
  int64_t sequences, tableColumns;
  float scale;
  int64_t window;  // 0: none. A row sees keys with position - key < window
  float softcap;   // 0: none
  float* out;      // [rows, heads, headDim]
};

// Rows [rowBegin, rowEnd) of one sequence that are worked on together.
struct AttentionTile {
  int32_t sequence, rowBegin, rowEnd;
};

// How one call is cut into tasks. Keys are cut at absolute multiples of `attentionSectionKeys` into sections, and their
// partial results are merged in order, whether one task does all sections of a tile or each section is its own task.
struct AttentionPlan {
  const AttentionTile* tiles;
  int64_t tileCount;
  int64_t sectionCount;   // sections that the longest row sees
  bool separateSections;  // true: each section is its own task, and the merge phase must follow
  int64_t taskCount;      // tasks of phase 1 (`attention`)
  int64_t mergeCount;     // tasks of phase 2 (`attentionMerge`) after a barrier; 0: no phase 2
  int64_t scratchBytes;   // per thread, 64-byte aligned, for either phase
  int64_t partialBytes;   // shared by all threads, 64-byte aligned, written by phase 1 and read by phase 2
};

constexpr int64_t attentionSectionKeys = 256;

// Sections become tasks of their own only in calls of at most this many rows (decoding, speculation): larger calls have
// tasks enough, and the partial results of few rows stay small.
constexpr int64_t attentionSeparateRows = 8;

enum class AttentionFault : int32_t { none, position, blockId, starts };

// Cuts `call` into tasks for about `threads` threads. `tiles` has room for `call.rows` entries.
// Also the guard of the kernel: reports the first row whose reach is beyond its block table, the first table entry that
// names no block, or starts that do not ascend within the rows (`faultRow`: row, or sequence for blockId and starts).
AttentionFault planAttention(const Attention& call, int64_t threads, AttentionTile* tiles, AttentionPlan* plan,
                             int64_t* faultRow);

// Largest `scratchBytes` and `partialBytes` of any call with these limits, so that a runtime can reserve them once.
int64_t attentionScratchBytesBound(int64_t heads, int64_t kvHeads, int64_t headDim);
int64_t attentionPartialBytesBound(int64_t rows, int64_t heads, int64_t headDim, int64_t maxKeys);

// ---------------------------------------------------------------- recurrent state
//
// One sequence of a step: its rows go on from what the state held before them.

// out[row, c] = sum over i of weight[i, c] * input(row - width + 1 + i, c), where the inputs before row 0 are `before`.
struct CausalConv {
  const float* x;       // [rows, channels]
  int64_t stride;       // elements from one row of x, out and `before` to the next
  const float* before;  // [width - 1, channels], oldest first; absent: zeros
  const float* weight;  // [width, channels], a row every `weightStride` elements
  int64_t weightStride;
  int64_t rows, width, channels;
  float* out;
};

// One head of packages/tensor/src/op/recurrent.ts, gatedDelta. With S [keyDim, valueDim], for each row
//   S <- exp(decay) S;  S <- S + key (beta (value - S^T key))^T;  out = S^T query.
struct GatedDelta {
  const float *query, *key;  // [rows, keyDim]
  int64_t keyStride;         // elements from one row to the next
  const float* value;        // [rows, valueDim]
  float* out;
  int64_t valueStride;
  const float *decay, *beta;  // [rows]
  int64_t gateStride;
  int64_t rows, keyDim, valueDim;
  const float* before;  // S before the first row; absent: zeros
  float* after;         // S after the last, which may be `before`; absent: it is not kept
};

// Columns of S that a level works on at once, at most.
constexpr int64_t gatedDeltaColumns = 64;

static inline int64_t gatedDeltaScratchBytes(int64_t keyDim) {
  return keyDim * gatedDeltaColumns * static_cast<int64_t>(sizeof(float));
}

// ---------------------------------------------------------------- levels

enum class Level : int32_t { portable, avx2, avx512vnni };

struct Kernels {
  Level level;
  const char* name;

  // 1 / sqrt(mean(x^2) + epsilon) of each row in [rowBegin, rowEnd) into inverse[row].
  void (*inverseRms)(const float* x, int64_t stride, int64_t columns, float epsilon, int64_t rowBegin, int64_t rowEnd,
                     float* inverse);

  // Rows [rowBegin, rowEnd) of x to quantized rows of `out` (start of the whole buffer). columns: a multiple of 32.
  void (*quantize)(const float* x, int64_t stride, int64_t columns, int64_t rowBegin, int64_t rowEnd, uint8_t* out);
  // As `quantize`, for x * inverse[row] * (weightOffset + weight[column]); weight may be absent (factor 1).
  void (*quantizeNorm)(const float* x, int64_t stride, int64_t columns, const float* inverse, const float* weight,
                       float weightOffset, int64_t rowBegin, int64_t rowEnd, uint8_t* out);
  // As `quantize`, for f(gate) * up.
  void (*quantizeGlu)(Activation f, const float* gate, int64_t gateStride, const float* up, int64_t upStride,
                      int64_t columns, int64_t rowBegin, int64_t rowEnd, uint8_t* out);

  // `packGroups`, fast: the same bytes.
  void (*pack)(DType dtype, const uint8_t* source, int64_t rowStrideBytes, int64_t rows, int64_t columns,
               int64_t groupBegin, int64_t groupEnd, uint8_t* packed);

  // Activation rows [rowBegin, rowEnd) times weight groups [groupBegin, groupEnd) of the view; group g of weights in
  // place is rows 16 g ... of the view. `scratch`: `matmulQuantizedScratchBytes(call)` per thread, 64-byte aligned.
  void (*matmulQuantized)(const QuantizedMatmul& call, int64_t rowBegin, int64_t rowEnd, int64_t groupBegin,
                          int64_t groupEnd, void* scratch);
  int64_t (*matmulQuantizedScratchBytes)(const QuantizedMatmul& call);

  // The same in f32, every weight decoded to f32 first. `scratch`: `matmulFloatScratchBytes(call)` per thread, 64-byte
  // aligned. Raw weights are grouped too: group g is rows 16 g ... of the view.
  void (*matmulFloat)(const FloatMatmul& call, int64_t rowBegin, int64_t rowEnd, int64_t groupBegin, int64_t groupEnd,
                      void* scratch);
  int64_t (*matmulFloatScratchBytes)(const FloatMatmul& call);

  // Any row to f32, faster than the scalar `decodeRow` where that matters, same bits.
  void (*decode)(DType dtype, const uint8_t* source, int64_t count, float* out);

  // Tasks [taskBegin, taskEnd) of phase 1, then of phase 2 (only if plan.mergeCount > 0).
  void (*attention)(const Attention& call, const AttentionPlan& plan, int64_t taskBegin, int64_t taskEnd, void* scratch,
                    void* partials);
  void (*attentionMerge)(const Attention& call, const AttentionPlan& plan, int64_t taskBegin, int64_t taskEnd,
                         void* scratch, void* partials);

  void (*causalConv)(const CausalConv& call);
  // `scratch`: `gatedDeltaScratchBytes(keyDim)` per thread, 64-byte aligned.
  void (*gatedDelta)(const GatedDelta& call, void* scratch);

  // out[i] = f(x[i]); out may be x.
  void (*exp)(const float* x, int64_t count, float* out);
  void (*activate)(Activation f, const float* x, int64_t count, float* out);
  // out[i] = f(gate[i]) * up[i]; out may be either input.
  void (*activateMultiply)(Activation f, const float* gate, const float* up, int64_t count, float* out);
  // out[i] = cap * tanh(x[i] / cap); out may be x.
  void (*softcap)(float cap, const float* x, int64_t count, float* out);
};

// Name of a level as the command line writes it: portable, avx2, avx512vnni.
const char* levelName(Level level);

// True when this build has the level and the processor and operating system can run it.
bool levelAvailable(Level level);

// Fastest available level.
Level bestLevel();

// Table of an available level.
const Kernels& selectKernels(Level level);

}  // namespace unicorn
