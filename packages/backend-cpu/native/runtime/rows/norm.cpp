// Kernels of normalizations over the last axis, and of Gemma 3n's cut by its mean and deviation.

#include "rows.h"

namespace unicorn {
namespace {

// Eight running sums, so that one addition does not wait for the last; their order is fixed.
template <typename F>
double sumOf(int64_t count, F&& term) {
  double sums[8] = {};
  int64_t i = 0;
  for (; i + 8 <= count; i += 8) {
    for (int64_t j = 0; j < 8; j++) sums[j] += term(i + j);
  }
  for (int64_t j = 0; i < count; i++, j++) sums[j] += term(i);
  return ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]));
}

double square(double x) { return x * x; }

}  // namespace

void rmsNormRows(const RowCall& call, int64_t rowBegin, int64_t rowEnd) {
  const int64_t columns = call[0].tensor->last();
  const float* x = call[0].tensor->floats();
  const float* weight = call.has(1) ? call[1].tensor->floats() : nullptr;
  float* out = call[2].tensor->floats();
  const auto epsilon = static_cast<float>(call.numbers[0]);
  const auto offset = static_cast<float>(call.numbers[1]);
  forEachLine(call[2], columns, rowBegin, rowEnd, [&](int64_t start) {
    float inverse;
    call.run.kernels.inverseRms(x + start, columns, columns, epsilon, 0, 1, &inverse);
    if (weight != nullptr) {
      UNICORN_EACH_ALONE
      for (int64_t i = 0; i < columns; i++) out[start + i] = x[start + i] * inverse * (offset + weight[i]);
    } else {
      UNICORN_EACH_ALONE
      for (int64_t i = 0; i < columns; i++) out[start + i] = x[start + i] * inverse;
    }
  });
}

void matchRmsRows(const RowCall& call, int64_t rowBegin, int64_t rowEnd) {
  const int64_t columns = call[0].tensor->last();
  const auto n = static_cast<double>(columns);
  const float* x = call[0].tensor->floats();
  const float* reference = call[1].tensor->floats();
  float* out = call[2].tensor->floats();
  forEachLine(call[2], columns, rowBegin, rowEnd, [&](int64_t start) {
    const double own = sumOf(columns, [&](int64_t i) { return square(x[start + i]); });
    const double wanted = sumOf(columns, [&](int64_t i) { return square(reference[start + i]); });
    // Math.max gives NaN when an operand is; std::max would not.
    const double mean = own / n;
    const double least = mean != mean || mean > call.numbers[0] ? mean : call.numbers[0];
    const auto factor = static_cast<float>(std::sqrt(wanted / n) / std::sqrt(least));
    for (int64_t i = 0; i < columns; i++) out[start + i] = x[start + i] * factor;
  });
}

void gaussianTopKRows(const RowCall& call, int64_t rowBegin, int64_t rowEnd) {
  const int64_t columns = call[0].tensor->last();
  const auto n = static_cast<double>(columns);
  const float* x = call[0].tensor->floats();
  float* out = call[1].tensor->floats();
  forEachLine(call[1], columns, rowBegin, rowEnd, [&](int64_t start) {
    const double mean = sumOf(columns, [&](int64_t i) { return static_cast<double>(x[start + i]); }) / n;
    const double variance = sumOf(columns, [&](int64_t i) { return square(x[start + i] - mean); }) / n;
    const double cut = mean + call.numbers[0] * std::sqrt(variance);
    for (int64_t i = 0; i < columns; i++) {
      const double above = x[start + i] - cut;
      out[start + i] = above > 0 || above != above ? static_cast<float>(above) : 0.0F;
    }
  });
}

}  // namespace unicorn
