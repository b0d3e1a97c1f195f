// The product of f32 activations with weights of any type, in f32. Two forms, each with one fixed order of additions for
// a pair of a weight row and an activation row:
//   raw     one vector of W partial sums along the columns, then the tree of `sumLanes`. f32, f16 and bf16 are converted
//           on the way; block formats are decoded 16 rows at a time into the caller's scratch.
//   packed  16 weight rows in lanes; each run of 32 columns is summed by itself and then added to the total. Weights in
//           place are packed a group at a time.
// Scalar twin: `dot` of test/reference.cpp over rows decoded by `decodeRow`.
#include "int8-dot.h"
#include "level.h"

namespace unicorn {
namespace UNICORN_LEVEL {

namespace {

UNICORN_INLINE void finishOne(const FloatMatmul& call, int64_t row, int64_t column, float sum) {
  const Epilogue& epilogue = call.epilogue;
  if (epilogue.bias) sum += epilogue.bias[column];
  if (epilogue.residual) sum += epilogue.residual[row * epilogue.residualStride + column];
  call.out[row * call.outStride + column] = sum;
}

// ---- raw rows

struct LoadF32 {
  static constexpr int bytes = 4;
  UNICORN_INLINE F load(const uint8_t* p) { return UNICORN_LEVEL::load(reinterpret_cast<const float*>(p)); }
};
struct LoadF16 {
  static constexpr int bytes = 2;
  UNICORN_INLINE F load(const uint8_t* p) { return loadHalf(p); }
};
struct LoadBf16 {
  static constexpr int bytes = 2;
  UNICORN_INLINE F load(const uint8_t* p) { return loadBfloat(p); }
};

// The first n elements at p; reads nothing behind them.
template <typename Weight>
UNICORN_INLINE F loadWeightsFirst(const uint8_t* p, int64_t n) {
  uint8_t bytes[4 * W] = {};
  memcpy(bytes, p, static_cast<size_t>(n * Weight::bytes));
  return Weight::load(bytes);
}

constexpr int panelRows = 4;                  // weight rows of a tile
constexpr int tileRowsRaw = W == 16 ? 6 : 2;  // activation rows: 24 or 8 accumulators, 4 weight vectors, 1 activation

// R weight rows from `weights` on (column index `column`) by M activation rows.
template <typename Weight, int R, int M>
void tileRaw(const FloatMatmul& call, const uint8_t* weights, int64_t strideBytes, int64_t row, int64_t column) {
  const float* x = call.activations + row * call.activationStride;
  F sums[R][M] = {};
  int64_t k = 0;
  for (; k + W <= call.columns; k += W) {
    F w[R];
#pragma GCC unroll 4
    for (int r = 0; r < R; r++) w[r] = Weight::load(weights + r * strideBytes + k * Weight::bytes);
#pragma GCC unroll 6
    for (int m = 0; m < M; m++) {
      const F v = load(x + m * call.activationStride + k);
#pragma GCC unroll 4
      for (int r = 0; r < R; r++) sums[r][m] = fma(v, w[r], sums[r][m]);
    }
  }
  if (k < call.columns) {
    const int64_t rest = call.columns - k;
    for (int r = 0; r < R; r++) {
      const F w = loadWeightsFirst<Weight>(weights + r * strideBytes + k * Weight::bytes, rest);
      for (int m = 0; m < M; m++) {
        sums[r][m] = fma(loadFirst(x + m * call.activationStride + k, rest), w, sums[r][m]);
      }
    }
  }
  for (int m = 0; m < M; m++) {
    for (int r = 0; r < R; r++) finishOne(call, row + m, column + r, sumLanes(sums[r][m]));
  }
}

template <typename Weight, int R>
void tileRawOf(const FloatMatmul& call, const uint8_t* weights, int64_t strideBytes, int64_t row, int64_t rows,
               int64_t column) {
  switch (rows) {
    case 1: return tileRaw<Weight, R, 1>(call, weights, strideBytes, row, column);
    case 2: return tileRaw<Weight, R, 2>(call, weights, strideBytes, row, column);
  }
  if constexpr (tileRowsRaw >= 6) {
    switch (rows) {
      case 3: return tileRaw<Weight, R, 3>(call, weights, strideBytes, row, column);
      case 4: return tileRaw<Weight, R, 4>(call, weights, strideBytes, row, column);
      case 5: return tileRaw<Weight, R, 5>(call, weights, strideBytes, row, column);
      case 6: return tileRaw<Weight, R, 6>(call, weights, strideBytes, row, column);
    }
  }
}

// Weight rows [column, column + count) of one group against all activation rows.
template <typename Weight>
void groupRaw(const FloatMatmul& call, const uint8_t* weights, int64_t strideBytes, int64_t rowBegin, int64_t rowEnd,
              int64_t column, int64_t count) {
  for (int64_t row = rowBegin; row < rowEnd; row += tileRowsRaw) {
    const int64_t rows = minimum(tileRowsRaw, rowEnd - row);
    int64_t r = 0;
    for (; r + panelRows <= count; r += panelRows) {
      tileRawOf<Weight, panelRows>(call, weights + r * strideBytes, strideBytes, row, rows, column + r);
    }
    for (; r < count; r++) {
      tileRawOf<Weight, 1>(call, weights + r * strideBytes, strideBytes, row, rows, column + r);
    }
  }
}

void matmulRaw(const FloatMatmul& call, int64_t rowBegin, int64_t rowEnd, int64_t groupBegin, int64_t groupEnd,
               float* scratch) {
  for (int64_t group = groupBegin; group < groupEnd; group++) {
    const int64_t column = group * groupRows;
    const int64_t count = minimum(groupRows, call.weightRows - column);
    const uint8_t* weights = call.weights + column * call.rowStrideBytes;
    switch (call.dtype) {
      case DType::f32: groupRaw<LoadF32>(call, weights, call.rowStrideBytes, rowBegin, rowEnd, column, count); break;
      case DType::f16: groupRaw<LoadF16>(call, weights, call.rowStrideBytes, rowBegin, rowEnd, column, count); break;
      case DType::bf16: groupRaw<LoadBf16>(call, weights, call.rowStrideBytes, rowBegin, rowEnd, column, count); break;
      default:
        for (int64_t r = 0; r < count; r++) {
          decode(call.dtype, weights + r * call.rowStrideBytes, call.columns, scratch + r * call.columns);
        }
        groupRaw<LoadF32>(call, reinterpret_cast<const uint8_t*>(scratch), call.columns * 4, rowBegin, rowEnd, column,
                          count);
    }
  }
}

// ---- packed groups

// Columns 4 c ... 4 c + 3 of a sub-block as f32, to panel[column][16].
template <DType type, int c>
UNICORN_INLINE void unpackChunk(const uint8_t* sub, int half, F scale, F min, float* panel) {
  constexpr PackedFormat format = packedFormat(type);
  const I quants = reinterpret_cast<I>(quantsOf<type, c>(sub, half));
  for (int b = 0; b < 4; b++) {
    const F value = scale * toFloat(((quants >> (8 * b)) & 255) - format.offset);
    store(panel + (4 * c + b) * groupRows + half * W, format.mins ? value + min : value);
  }
}

// The scale products of `decodePackedRow`, in the same order: the values are its bits.
template <DType type>
void unpackGroup(const uint8_t* block, int64_t columns, float* panel) {
  constexpr PackedFormat format = packedFormat(type);
  for (int64_t k = 0; k < columns; k += format.blockColumns(), block += format.blockBytes()) {
    for (int s = 0; s < format.blockColumns() / 32; s++, panel += 32 * groupRows) {
      const uint8_t* sub = block + format.headerBytes() + s * format.subBytes();
      for (int half = 0; half < groupRows / W; half++) {
        F scales[2];
        F min = {};
        if constexpr (format.super) {
          const F d = loadHalf(block + 2 * W * half);
          for (int side = 0; side < 2; side++) {
            const uint8_t* at = sub + format.scalesAt() + (format.pairScales ? 16 * side : 0) + W * half;
            scales[side] = d * toFloat(format.mins ? loadBytes(at) : loadSignedBytes(at));
          }
          if (format.mins) {
            min = -loadHalf(block + 32 + 2 * W * half) * toFloat(loadBytes(sub + format.minsAt() + W * half));
          }
        } else {
          scales[0] = scales[1] = loadHalf(sub + format.scalesAt() + 2 * W * half);
          if (format.mins) min = loadHalf(sub + format.minsAt() + 2 * W * half);
        }
        unpackChunk<type, 0>(sub, half, scales[0], min, panel);
        unpackChunk<type, 1>(sub, half, scales[0], min, panel);
        unpackChunk<type, 2>(sub, half, scales[0], min, panel);
        unpackChunk<type, 3>(sub, half, scales[0], min, panel);
        unpackChunk<type, 4>(sub, half, scales[1], min, panel);
        unpackChunk<type, 5>(sub, half, scales[1], min, panel);
        unpackChunk<type, 6>(sub, half, scales[1], min, panel);
        unpackChunk<type, 7>(sub, half, scales[1], min, panel);
      }
    }
  }
}

constexpr int tileRowsPacked = W == 16 ? 12 : 4;  // a partial and a total sum each

template <int M>
void tilePacked(const FloatMatmul& call, const float* panel, int64_t row, int64_t group) {
  const float* x = call.activations + row * call.activationStride;
  for (int half = 0; half < groupRows / W; half++) {
    const int64_t column = group * groupRows + half * W;
    const int64_t lanes = minimum(W, call.weightRows - column);
    if (lanes <= 0) break;
    F totals[M] = {};
    for (int64_t block = 0; block < call.columns; block += 32) {
      F sums[M] = {};
      for (int64_t k = block; k < block + 32; k++) {
        const F w = load(panel + k * groupRows + half * W);
#pragma GCC unroll 12
        for (int m = 0; m < M; m++) sums[m] = fma(broadcast(x[m * call.activationStride + k]), w, sums[m]);
      }
#pragma GCC unroll 12
      for (int m = 0; m < M; m++) totals[m] += sums[m];
    }
    for (int m = 0; m < M; m++) {
      const Epilogue& epilogue = call.epilogue;
      F sum = totals[m];
      if (epilogue.bias) sum += loadFirst(epilogue.bias + column, lanes);
      if (epilogue.residual) {
        sum += loadFirst(epilogue.residual + (row + m) * epilogue.residualStride + column, lanes);
      }
      storeFirst(call.out + (row + m) * call.outStride + column, sum, lanes);
    }
  }
}

void tilePackedOf(const FloatMatmul& call, const float* panel, int64_t row, int64_t rows, int64_t group) {
  switch (rows) {
    case 1: return tilePacked<1>(call, panel, row, group);
    case 2: return tilePacked<2>(call, panel, row, group);
    case 3: return tilePacked<3>(call, panel, row, group);
    case 4: return tilePacked<4>(call, panel, row, group);
  }
  if constexpr (tileRowsPacked >= 12) {
    switch (rows) {
      case 5: return tilePacked<5>(call, panel, row, group);
      case 6: return tilePacked<6>(call, panel, row, group);
      case 7: return tilePacked<7>(call, panel, row, group);
      case 8: return tilePacked<8>(call, panel, row, group);
      case 9: return tilePacked<9>(call, panel, row, group);
      case 10: return tilePacked<10>(call, panel, row, group);
      case 11: return tilePacked<11>(call, panel, row, group);
      case 12: return tilePacked<12>(call, panel, row, group);
    }
  }
}

template <DType type>
void matmulPacked(const FloatMatmul& call, int64_t rowBegin, int64_t rowEnd, int64_t groupBegin, int64_t groupEnd,
                  float* panel) {
  constexpr PackedFormat format = packedFormat(type);
  const int64_t groupBytes = call.storedColumns / format.blockColumns() * format.blockBytes();
  uint8_t* packed = reinterpret_cast<uint8_t*>(panel + groupRows * call.columns);
  const int64_t rows = rowEnd - rowBegin;
  const int64_t tiles = (rows + tileRowsPacked - 1) / tileRowsPacked;
  for (int64_t group = groupBegin; group < groupEnd; group++) {
    const uint8_t* block = call.weights + group * groupBytes;
    if (call.form == WeightForm::inPlace) {
      const int64_t first = group * groupRows;
      pack(type, call.weights + first * call.rowStrideBytes, call.rowStrideBytes,
           minimum(groupRows, call.weightRows - first), call.columns, 0, 1, packed);
      block = packed;
    }
    unpackGroup<type>(block, call.columns, panel);
    for (int64_t t = 0; t < tiles; t++) {
      const int64_t begin = rowBegin + rows * t / tiles;
      tilePackedOf(call, panel, begin, rowBegin + rows * (t + 1) / tiles - begin, group);
    }
  }
}

}  // namespace

void matmulFloat(const FloatMatmul& call, int64_t rowBegin, int64_t rowEnd, int64_t groupBegin, int64_t groupEnd,
                 void* scratch) {
  if (rowBegin >= rowEnd) return;
  float* floats = static_cast<float*>(scratch);
  if (call.form == WeightForm::raw) return matmulRaw(call, rowBegin, rowEnd, groupBegin, groupEnd, floats);
  UNICORN_WITH_PACKED_TYPE(call.dtype, matmulPacked<type>(call, rowBegin, rowEnd, groupBegin, groupEnd, floats))
}

int64_t matmulFloatScratchBytes(const FloatMatmul& call) {
  const bool direct = call.form == WeightForm::raw &&
                      (call.dtype == DType::f32 || call.dtype == DType::f16 || call.dtype == DType::bf16);
  if (direct) return 0;
  return groupRows * call.columns * 4 +
         (call.form == WeightForm::inPlace ? packedGroupBytes(call.dtype, call.columns) : 0);
}

// Formats that embedding tables, KV rows and unpacked weights use most; the rest is `decodeRow`. Products are exact, so
// the bits are the same.
void decode(DType dtype, const uint8_t* source, int64_t count, float* out) {
  int64_t i = 0;
  switch (dtype) {
    case DType::f16:
      for (; i + W <= count; i += W) store(out + i, loadHalf(source + 2 * i));
      break;
    case DType::bf16:
      for (; i + W <= count; i += W) store(out + i, loadBfloat(source + 2 * i));
      break;
    case DType::q8_0:
      for (; i < count; i += 32, source += 34) {
        uint16_t bits;
        memcpy(&bits, source, 2);
        const float d = halfToFloat(bits);
        for (int j = 0; j < 32; j += W) store(out + i + j, d * toFloat(loadSignedBytes(source + 2 + j)));
      }
      return;
    case DType::q4_0:
    case DType::q4_1: {
      const bool mins = dtype == DType::q4_1;
      const uint8_t* quants = source + (mins ? 4 : 2);
      for (; i < count; i += 32, source += mins ? 20 : 18, quants += mins ? 20 : 18) {
        uint16_t bits;
        memcpy(&bits, source, 2);
        const float d = halfToFloat(bits);
        memcpy(&bits, source + 2, 2);
        const float m = mins ? halfToFloat(bits) : 0.0f;
        for (int j = 0; j < 16; j += W) {
          const I pair = loadBytes(quants + j);
          const I low = pair & 15;
          const I high = pair >> 4;
          store(out + i + j, mins ? d * toFloat(low) + m : d * toFloat(low - 8));
          store(out + i + 16 + j, mins ? d * toFloat(high) + m : d * toFloat(high - 8));
        }
      }
      return;
    }
    default: break;
  }
  const DTypeLayout layout = dtypeLayout(dtype);
  decodeRow(dtype, source + i / layout.blockSize * layout.blockBytes, count - i, out + i);
}

}  // namespace UNICORN_LEVEL
}  // namespace unicorn
