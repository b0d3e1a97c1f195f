// Sums over the rows of a step, column by column: columns are what the pool splits, so no row is added by two members.

#include "rows.h"

namespace unicorn {
namespace {

// Columns that a member takes at once: their sums stay in registers or L1.
constexpr int64_t columnBlock = 16;

// f(column, count) for each block of columns in [begin, end).
template <typename F>
void forEachBlock(int64_t begin, int64_t end, F&& f) {
  for (int64_t column = begin; column < end; column += columnBlock) {
    f(column, column + columnBlock < end ? columnBlock : end - column);
  }
}

}  // namespace

// Operands: x [rows, features], starts [segments], out [segments, features].
void segmentMeanRows(const RowCall& call, int64_t columnBegin, int64_t columnEnd) {
  const Tensor& x = *call[0].tensor;
  const Segments segments(*call[1].tensor, x.dims[0]);
  const int64_t columns = x.dims[1];
  float* out = call[2].tensor->floats();
  forEachBlock(columnBegin, columnEnd, [&](int64_t column, int64_t count) {
    for (int64_t segment = 0; segment < segments.count(); segment++) {
      const int64_t begin = segments.begin(segment), end = segments.end(segment);
      double sums[columnBlock] = {};
      for (int64_t row = begin; row < end; row++) {
        const float* line = x.floats() + row * columns + column;
        for (int64_t i = 0; i < count; i++) sums[i] += line[i];
      }
      float* line = out + segment * columns + column;
      const double length = begin < end ? static_cast<double>(end - begin) : 1;
      for (int64_t i = 0; i < count; i++) line[i] = static_cast<float>(sums[i] / length);
    }
  });
}

// Operands: x [rows, columns], the state [columns].
void accumulateSquaresRows(const RowCall& call, int64_t columnBegin, int64_t columnEnd) {
  const Tensor& x = *call[0].tensor;
  const int64_t rows = x.dims[0], columns = x.dims[1];
  float* state = call[1].tensor->floats();
  forEachBlock(columnBegin, columnEnd, [&](int64_t column, int64_t count) {
    double sums[columnBlock] = {};
    for (int64_t row = 0; row < rows; row++) {
      const float* line = x.floats() + row * columns + column;
      for (int64_t i = 0; i < count; i++) sums[i] += static_cast<double>(line[i]) * line[i];
    }
    for (int64_t i = 0; i < count; i++) state[column + i] = static_cast<float>(state[column + i] + sums[i]);
  });
}

}  // namespace unicorn
