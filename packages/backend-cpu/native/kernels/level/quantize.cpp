// Rows of f32 to int8 blocks (kernels.h, ActivationBlock), alone or fused with what produces the row: RMS norm or the
// gated linear unit. Quant = x * (127 / max|x|), to nearest even; the scalar twin is in test/reference.cpp.
#include "level.h"
#include "vector-math.h"

namespace unicorn {
namespace UNICORN_LEVEL {

namespace {

constexpr int vectors = activationBlockSize / W;

// Sums of the first 16 and of all 32 quants.
struct QuantSums {
  int32_t low, all;
};

// Stores 32 quants, given as integers in order, and sums them.
UNICORN_INLINE QuantSums putQuants(const I (&quants)[vectors], int8_t* out) {
#if defined(__AVX2__)
  // In registers: reading back what narrower stores have just written would wait for them.
#if defined(__AVX512VNNI__)
  const __m256i q = _mm256_set_m128i(_mm512_cvtepi32_epi8(reinterpret_cast<__m512i>(quants[1])),
                                     _mm512_cvtepi32_epi8(reinterpret_cast<__m512i>(quants[0])));
#else
  const __m256i first = _mm256_packs_epi32(reinterpret_cast<__m256i>(quants[0]), reinterpret_cast<__m256i>(quants[1]));
  const __m256i second = _mm256_packs_epi32(reinterpret_cast<__m256i>(quants[2]), reinterpret_cast<__m256i>(quants[3]));
  const __m256i q =
      _mm256_permutevar8x32_epi32(_mm256_packs_epi16(first, second), _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
#endif
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), q);
  // Pairs of quants fit 16 bits, pairs of pairs are widened; each half then holds four sums of four.
  __m256i sums = _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_set1_epi8(1), q), _mm256_set1_epi16(1));
  sums = _mm256_add_epi32(sums, _mm256_shuffle_epi32(sums, 0x4e));
  sums = _mm256_add_epi32(sums, _mm256_shuffle_epi32(sums, 0xb1));
  const int32_t low = _mm256_cvtsi256_si32(sums);
  return {low, low + _mm256_extract_epi32(sums, 4)};
#else
  int32_t low = 0;
  int32_t high = 0;
  for (int v = 0; v < vectors; v++) storeBytes(out + v * W, quants[v]);
  for (int i = 0; i < 16; i++) low += out[i];
  for (int i = 16; i < 32; i++) high += out[i];
  return {low, low + high};
#endif
}

UNICORN_INLINE void quantizeBlock(const F (&values)[vectors], ActivationBlock* block) {
  // Magnitudes compare as integers, and a NaN is larger than infinity there: it is not lost as in a float maximum.
  I top = bitsOf(absolute(values[0]));
  for (int v = 1; v < vectors; v++) top = maxInt(top, bitsOf(absolute(values[v])));
  const int32_t topBits = maxLanesInt(top);
  float largest;
  memcpy(&largest, &topBits, 4);

  // Below 1e-30 the inverse could overflow; such a block is zero for every purpose. Not finite: scale NaN, quants 0.
  const bool finite = topBits < 0x7f800000;
  const bool zero = !finite || largest < 1e-30f;
  if (__builtin_expect(zero, 0)) {  // values that are not finite must not reach the conversion
    memset(block, 0, sizeof *block);
    if (!finite) block->scale = block->scaledSum = __builtin_nanf("");
    return;
  }
  const F inverse = broadcast(127.0f / largest);
  I quants[vectors];
  for (int v = 0; v < vectors; v++) quants[v] = toInt(values[v] * inverse);
  const QuantSums sums = putQuants(quants, block->quants);
  block->scale = largest / 127.0f;
  block->scaledSum = block->scale * static_cast<float>(sums.all);
  block->negativeSum = -sums.all;
  block->negativeSumLow = -sums.low;
}

// `source(row)` gives a function of the column that returns W values.
template <typename Source>
UNICORN_INLINE void quantizeRows(int64_t columns, int64_t rowBegin, int64_t rowEnd, uint8_t* out, Source source) {
  const int64_t bytes = activationRowBytes(columns);
  for (int64_t row = rowBegin; row < rowEnd; row++) {
    const auto valuesAt = source(row);
    ActivationBlock* block = reinterpret_cast<ActivationBlock*>(out + row * bytes);
    for (int64_t column = 0; column < columns; column += activationBlockSize, block++) {
      F values[vectors];
      for (int v = 0; v < vectors; v++) values[v] = valuesAt(column + v * W);
      quantizeBlock(values, block);
    }
  }
}

}  // namespace

void quantize(const float* x, int64_t stride, int64_t columns, int64_t rowBegin, int64_t rowEnd, uint8_t* out) {
  quantizeRows(columns, rowBegin, rowEnd, out, [=](int64_t row) {
    const float* line = x + row * stride;
    return [=](int64_t column) { return load(line + column); };
  });
}

void quantizeNorm(const float* x, int64_t stride, int64_t columns, const float* inverse, const float* weight,
                  float weightOffset, int64_t rowBegin, int64_t rowEnd, uint8_t* out) {
  const F offset = broadcast(weightOffset);
  if (weight == nullptr) {
    quantizeRows(columns, rowBegin, rowEnd, out, [=](int64_t row) {
      const float* line = x + row * stride;
      const F factor = broadcast(inverse[row]);
      return [=](int64_t column) { return load(line + column) * factor; };
    });
    return;
  }
  quantizeRows(columns, rowBegin, rowEnd, out, [=](int64_t row) {
    const float* line = x + row * stride;
    const F factor = broadcast(inverse[row]);
    return [=](int64_t column) { return load(line + column) * factor * (offset + load(weight + column)); };
  });
}

void quantizeGlu(Activation f, const float* gate, int64_t gateStride, const float* up, int64_t upStride,
                 int64_t columns, int64_t rowBegin, int64_t rowEnd, uint8_t* out) {
  UNICORN_WITH_ACTIVATION(f, quantizeRows(columns, rowBegin, rowEnd, out, [=](int64_t row) {
                            const float* gateLine = gate + row * gateStride;
                            const float* upLine = up + row * upStride;
                            return [=](int64_t column) {
                              return activationOf<kind>(load(gateLine + column)) * load(upLine + column);
                            };
                          }))
}

// Four sums of W lanes in a fixed order: the squares of one row never depend on another.
void inverseRms(const float* x, int64_t stride, int64_t columns, float epsilon, int64_t rowBegin, int64_t rowEnd,
                float* inverse) {
  for (int64_t row = rowBegin; row < rowEnd; row++) {
    const float* line = x + row * stride;
    F sums[4] = {};
    int64_t i = 0;
    for (; i + 4 * W <= columns; i += 4 * W) {
      for (int j = 0; j < 4; j++) {
        const F v = load(line + i + j * W);
        sums[j] = fma(v, v, sums[j]);
      }
    }
    for (; i < columns; i += W) {
      const F v = loadFirst(line + i, minimum(W, columns - i));
      sums[0] = fma(v, v, sums[0]);
    }
    const float squares = sumLanes((sums[0] + sums[1]) + (sums[2] + sums[3]));
    inverse[row] = 1.0f / __builtin_sqrtf(squares / static_cast<float>(columns) + epsilon);
  }
}

}  // namespace UNICORN_LEVEL
}  // namespace unicorn
