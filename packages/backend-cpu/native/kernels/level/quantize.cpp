// Rows of f32 to int8 blocks (kernels.h, ActivationBlock), alone or fused with what produces the row: RMS norm or the
// gated linear unit. Quant = x * (127 / max|x|), to nearest even; the scalar twin is in test/reference.cpp.
#include <math.h>

#include "level.h"
#include "vector-math.h"

namespace unicorn {
namespace UNICORN_LEVEL {

namespace {

constexpr int vectors = activationBlockSize / W;

UNICORN_INLINE int32_t sumLanesInt(I v) {
  int32_t lanes[W];
  memcpy(lanes, &v, sizeof lanes);
  int32_t sum = 0;
  for (int i = 0; i < W; i++) sum += lanes[i];
  return sum;
}

UNICORN_INLINE void quantizeBlock(const F (&values)[vectors], ActivationBlock* block) {
  // Magnitudes compare as integers, and a NaN is larger than infinity there: it is not lost as in a float maximum.
  I top = bitsOf(absolute(values[0]));
  for (int v = 1; v < vectors; v++) top = maxInt(top, bitsOf(absolute(values[v])));
  int32_t lanes[W];
  memcpy(lanes, &top, sizeof lanes);
  int32_t topBits = 0;
  for (int i = 0; i < W; i++) topBits = lanes[i] > topBits ? lanes[i] : topBits;
  float largest;
  memcpy(&largest, &topBits, 4);

  // Below 1e-30 the inverse could overflow; such a block is zero for every purpose. Not finite: scale NaN, quants 0.
  const bool finite = topBits < 0x7f800000;
  const bool zero = !finite || largest < 1e-30f;
  const F inverse = broadcast(zero ? 0.0f : 127.0f / largest);
  I sumLow = {};
  I sumHigh = {};
  for (int v = 0; v < vectors; v++) {
    // Values that are not finite must not reach the conversion: zero times them is NaN.
    const I quants = zero ? I{} : toInt(values[v] * inverse);
    storeBytes(block->quants + v * W, quants);
    if (v < vectors / 2) {
      sumLow += quants;
    } else {
      sumHigh += quants;
    }
  }
  const int32_t low = sumLanesInt(sumLow);
  const int32_t sum = low + sumLanesInt(sumHigh);
  block->scale = finite ? (zero ? 0.0f : largest / 127.0f) : __builtin_nanf("");
  block->scaledSum = block->scale * static_cast<float>(sum);
  block->negativeSum = -sum;
  block->negativeSumLow = -low;
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
    return [=](int64_t column) { return activationOf<kind>(load(gateLine + column)) * load(upLine + column); };
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
