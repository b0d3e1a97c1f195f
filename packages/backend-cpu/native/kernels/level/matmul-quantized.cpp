// The product of int8 activations with packed weights. One tile is W weight rows by M activation rows: each weight chunk
// is unpacked once and used for M rows.
//
// The one expression, whatever the tile, so that a result never depends on it: for each sub-block of 32 columns in order
//   acc = fma(float(exact int32 dot), weightScale * activationScale, acc)      (twice where scales cover 16 columns)
//   acc = fma(weightMin, activationScale * activationSum, acc)                 (types with minimums)
// Scalar twin: `activation` and `dot` of test/reference.cpp over rows decoded by `decodeRow`.
#include "int8-dot.h"
#include "level.h"

namespace unicorn {
namespace UNICORN_LEVEL {

namespace {

constexpr int halves = groupRows / W;

// Rows in a tile. Each takes two accumulators (dot and result; AVX2 adds a 16-bit one for 5 and 6 bits) of the 32
// (AVX-512) or 16 registers; the rest hold the weight chunk, the scales and constants. On AVX-512 12 rows give 24
// independent chains of latency 4 at one dpbusd per cycle.
template <DType type>
constexpr int tileRows() {
  if (W == 16) return 12;
  constexpr QuantBits bits = packedFormat(type).bits;
  return W == 8 && (bits == QuantBits::five || bits == QuantBits::six) ? 3 : 4;
}

// How far ahead of the weights in use: half a page, some 7 sub-blocks.
constexpr int64_t prefetchBytes = 2048;

// Weights in place are packed as many columns at a time.
constexpr int64_t runColumns = 256;

template <int M>
struct Rows {
  static constexpr int count = M;
};

// Scales (or minimums) of W rows of a sub-block, times the f16 of its block for the K types.
template <DType type>
UNICORN_INLINE F scaleOf(const uint8_t* sub, F blockScale, int side, int half) {
  constexpr PackedFormat format = packedFormat(type);
  const uint8_t* at = sub + format.scalesAt() + (format.pairScales ? 16 * side : 0);
  if constexpr (!format.super) {
    return loadHalf(at + 2 * W * half);
  } else if constexpr (format.mins) {
    return blockScale * toFloat(loadBytes(at + W * half));
  } else {
    return blockScale * toFloat(loadSignedBytes(at + W * half));
  }
}

template <DType type>
UNICORN_INLINE F minOf(const uint8_t* sub, F blockMin, int half) {
  constexpr PackedFormat format = packedFormat(type);
  if constexpr (format.super) {
    return -blockMin * toFloat(loadBytes(sub + format.minsAt() + W * half));
  } else {
    return loadHalf(sub + format.minsAt() + 2 * W * half);
  }
}

template <DType type, int M, int c>
UNICORN_INLINE void addChunk(const uint8_t* sub, int half, const ActivationBlock* activations, int64_t rowBytes,
                             Dot<type> (&dots)[M]) {
  const Bytes quants = quantsOf<type, c>(sub, half);
#pragma GCC unroll 16
  for (int m = 0; m < M; m++) {
    const uint8_t* row = reinterpret_cast<const uint8_t*>(activations) + m * rowBytes;
    dots[m].add(quants, reinterpret_cast<const int8_t*>(row) + 4 * c, c);
  }
}

template <DType type, int M, bool prefetch>
UNICORN_INLINE void addSubBlock(const uint8_t* sub, F blockScale, F blockMin, int half,
                                const ActivationBlock* activations, int64_t rowBytes, F (&sums)[M]) {
  constexpr PackedFormat format = packedFormat(type);
  const auto activationOf = [=](int m) {
    return reinterpret_cast<const ActivationBlock*>(reinterpret_cast<const uint8_t*>(activations) + m * rowBytes);
  };
  // Tiles of several rows read weights more slowly than the hardware's prefetcher expects, and it stops: 12 rows of
  // Q4_0 take 0.7 of the time with this. One or two rows run at its pace, and are a tenth slower with this.
  if constexpr (prefetch && M > 2) {
    for (int64_t line = 0; line < format.subBytes(); line += 64) __builtin_prefetch(sub + prefetchBytes + line);
  }
  Dot<type> dots[M];
  if constexpr (!format.pairScales) {
#pragma GCC unroll 16
    for (int m = 0; m < M; m++) dots[m].start(activationOf(m)->negativeSum);
  } else {
#pragma GCC unroll 16
    for (int m = 0; m < M; m++) dots[m].start(activationOf(m)->negativeSumLow);
  }
  addChunk<type, M, 0>(sub, half, activations, rowBytes, dots);
  addChunk<type, M, 1>(sub, half, activations, rowBytes, dots);
  addChunk<type, M, 2>(sub, half, activations, rowBytes, dots);
  addChunk<type, M, 3>(sub, half, activations, rowBytes, dots);
  if constexpr (format.pairScales) {
    const F scale = scaleOf<type>(sub, blockScale, 0, half);
#pragma GCC unroll 16
    for (int m = 0; m < M; m++) {
      sums[m] = fma(toFloat(dots[m].finish()), scale * activationOf(m)->scale, sums[m]);
      dots[m].start(activationOf(m)->negativeSum - activationOf(m)->negativeSumLow);
    }
  }
  addChunk<type, M, 4>(sub, half, activations, rowBytes, dots);
  addChunk<type, M, 5>(sub, half, activations, rowBytes, dots);
  addChunk<type, M, 6>(sub, half, activations, rowBytes, dots);
  addChunk<type, M, 7>(sub, half, activations, rowBytes, dots);
  const F scale = scaleOf<type>(sub, blockScale, 1, half);
#pragma GCC unroll 16
  for (int m = 0; m < M; m++) {
    sums[m] = fma(toFloat(dots[m].finish()), scale * activationOf(m)->scale, sums[m]);
  }
  if constexpr (format.mins) {
    const F min = minOf<type>(sub, blockMin, half);
#pragma GCC unroll 16
    for (int m = 0; m < M; m++) sums[m] = fma(min, broadcast(activationOf(m)->scaledSum), sums[m]);
  }
}

// Blocks of one half of a group, W weight rows, times M activation rows.
template <DType type, int M, bool prefetch>
UNICORN_INLINE void addBlocks(const uint8_t* block, int64_t blocks, int half, const ActivationBlock* activations,
                              int64_t rowBytes, F (&sums)[M]) {
  constexpr PackedFormat format = packedFormat(type);
  for (int64_t b = 0; b < blocks; b++, block += format.blockBytes()) {
    F blockScale = {};
    F blockMin = {};
    if constexpr (format.super) blockScale = loadHalf(block + 2 * W * half);
    if constexpr (format.super && format.mins) blockMin = loadHalf(block + 32 + 2 * W * half);
    const uint8_t* sub = block + format.headerBytes();
    for (int s = 0; s < format.blockColumns() / 32; s++, sub += format.subBytes(), activations++) {
      addSubBlock<type, M, prefetch>(sub, blockScale, blockMin, half, activations, rowBytes, sums);
    }
  }
}

// Writes results of weight rows [column, column + lanes).
template <int M>
UNICORN_INLINE void finish(const QuantizedMatmul& call, int64_t row, int64_t column, int64_t lanes,
                           const F (&sums)[M]) {
  for (int m = 0; m < M; m++) {
    const Epilogue& epilogue = call.epilogue;
    F sum = sums[m];
    if (epilogue.bias) sum += loadFirst(epilogue.bias + column, lanes);
    if (epilogue.residual) {
      sum += loadFirst(epilogue.residual + (row + m) * epilogue.residualStride + column, lanes);
    }
    storeFirst(call.out + (row + m) * call.outStride + column, sum, lanes);
  }
}

template <DType type, int M>
void tilePacked(const QuantizedMatmul& call, const uint8_t* group, int64_t row, int64_t column) {
  const int64_t rowBytes = activationRowBytes(call.columns);
  const auto* activations = reinterpret_cast<const ActivationBlock*>(call.activations + row * rowBytes);
  for (int half = 0; half < halves; half++) {
    const int64_t lanes = minimum(W, call.weightRows - column - half * W);
    if (lanes <= 0) break;
    F sums[M] = {};
    addBlocks<type, M, true>(group, call.columns / packedFormat(type).blockColumns(), half, activations, rowBytes,
                             sums);
    finish<M>(call, row, column + half * W, lanes, sums);
  }
}

// The first tile of a group of 16 whole rows that lie as in the file. They are packed run after run just before their
// use, so that the reading of memory is spread evenly over the work; meanwhile the next group, which follows in memory,
// is fetched into L2. `kept`: where the packed group stays for the next tiles; null: nobody needs it, and one run's
// memory in L1 serves all.
template <DType type, int M>
void tileInPlace(const QuantizedMatmul& call, const uint8_t* raw, int64_t row, int64_t column, uint8_t* kept) {
  constexpr PackedFormat format = packedFormat(type);
  constexpr int64_t runBlocks = runColumns / format.blockColumns();
  const int64_t rawBlockBytes = dtypeLayout(type).blockBytes;
  const int64_t rowBytes = activationRowBytes(call.columns);
  const auto* activations = reinterpret_cast<const ActivationBlock*>(call.activations + row * rowBytes);
  const int64_t blocks = call.columns / format.blockColumns();
  alignas(64) uint8_t run[runBlocks * format.blockBytes()];
  F sums[halves][M] = {};
  for (int64_t b = 0; b < blocks; b += runBlocks) {
    const int64_t count = minimum(runBlocks, blocks - b);
    const uint8_t* next = raw + groupRows * (call.rowStrideBytes + b * rawBlockBytes);
    for (int64_t line = 0; line < groupRows * count * rawBlockBytes; line += 64) __builtin_prefetch(next + line, 0, 2);
    uint8_t* packed = kept == nullptr ? run : kept + b * format.blockBytes();
    packBlocks(type, raw + b * rawBlockBytes, call.rowStrideBytes, count, packed);
    for (int half = 0; half < halves; half++) {
      addBlocks<type, M, false>(packed, count, half, activations + b * (format.blockColumns() / 32), rowBytes,
                                sums[half]);
    }
  }
  for (int half = 0; half < halves; half++) finish<M>(call, row, column + half * W, W, sums[half]);
}

// Calls `body` with `rows`, from 1 to the rows of a tile, as the compile-time constant M.
template <DType type, typename Body>
UNICORN_INLINE void withTileRows(int64_t rows, Body body) {
  switch (rows) {
    case 1: return body(Rows<1>());
    case 2: return body(Rows<2>());
    case 3: return body(Rows<3>());
  }
  if constexpr (tileRows<type>() >= 4) {
    if (rows == 4) return body(Rows<4>());
  }
  if constexpr (tileRows<type>() >= 12) {
    switch (rows) {
      case 5: return body(Rows<5>());
      case 6: return body(Rows<6>());
      case 7: return body(Rows<7>());
      case 8: return body(Rows<8>());
      case 9: return body(Rows<9>());
      case 10: return body(Rows<10>());
      case 11: return body(Rows<11>());
      case 12: return body(Rows<12>());
    }
  }
}

// Rows are cut into tiles of nearly equal size, so that 13 rows are 7 and 6 instead of 12 and 1. All tiles of a group
// follow each other: from the second on, its weights are in a near cache.
template <DType type>
void matmulOf(const QuantizedMatmul& call, int64_t rowBegin, int64_t rowEnd, int64_t groupBegin, int64_t groupEnd,
              uint8_t* scratch) {
  constexpr PackedFormat format = packedFormat(type);
  const int64_t rows = rowEnd - rowBegin;
  if (rows <= 0) return;
  const int64_t tiles = (rows + tileRows<type>() - 1) / tileRows<type>();
  for (int64_t group = groupBegin; group < groupEnd; group++) {
    const int64_t column = group * groupRows;
    const int64_t weightRows = minimum(groupRows, call.weightRows - column);
    const bool packed = call.form == WeightForm::packed;
    const bool fused = !packed && weightRows == groupRows;
    const uint8_t* raw = call.weights + column * call.rowStrideBytes;
    const uint8_t* weights =
        packed ? call.weights + group * (call.storedColumns / format.blockColumns() * format.blockBytes()) : scratch;
    if (!packed && !fused) pack(type, raw, call.rowStrideBytes, weightRows, call.columns, 0, 1, scratch);
    for (int64_t t = 0; t < tiles; t++) {
      const int64_t begin = rowBegin + rows * t / tiles;
      const int64_t end = rowBegin + rows * (t + 1) / tiles;
      withTileRows<type>(end - begin, [&](auto m) {
        if (fused && t == 0)
          return tileInPlace<type, m.count>(call, raw, begin, column, tiles == 1 ? nullptr : scratch);
        tilePacked<type, m.count>(call, weights, begin, column);
      });
    }
  }
}

}  // namespace

void matmulQuantized(const QuantizedMatmul& call, int64_t rowBegin, int64_t rowEnd, int64_t groupBegin,
                     int64_t groupEnd, void* scratch){
    UNICORN_WITH_PACKED_TYPE(call.dtype, matmulOf<type>(call, rowBegin, rowEnd, groupBegin, groupEnd,
                                                        static_cast<uint8_t*>(scratch)))}

int64_t matmulQuantizedScratchBytes(const QuantizedMatmul& call) {
  return call.form == WeightForm::inPlace ? packedGroupBytes(call.dtype, call.columns) : 0;
}

}  // namespace UNICORN_LEVEL
}  // namespace unicorn
