// The row kernels by the names of their ops, and what several of them share.
#pragma once

#include <cmath>

#include "../row-kernels.h"

namespace unicorn {

void embedRows(const RowCall&, int64_t, int64_t);
void rmsNormRows(const RowCall&, int64_t, int64_t);
void matchRmsRows(const RowCall&, int64_t, int64_t);
void gaussianTopKRows(const RowCall&, int64_t, int64_t);
void ropeTableRows(const RowCall&, int64_t, int64_t);
void ropeRows(const RowCall&, int64_t, int64_t);
void kvWriteRows(const RowCall&, int64_t, int64_t);
void activationRows(const RowCall&, int64_t, int64_t);
void gluRows(const RowCall&, int64_t, int64_t);
void softcapRows(const RowCall&, int64_t, int64_t);
void scaleRows(const RowCall&, int64_t, int64_t);
void addRows(const RowCall&, int64_t, int64_t);
void multiplyRows(const RowCall&, int64_t, int64_t);
void meanRows(const RowCall&, int64_t, int64_t);
void altUpPredictRows(const RowCall&, int64_t, int64_t);
void altUpCorrectRows(const RowCall&, int64_t, int64_t);
void altUpInjectRows(const RowCall&, int64_t, int64_t);
void copyRows(const RowCall&, int64_t, int64_t);
void sliceRows(const RowCall&, int64_t, int64_t);
void concatRows(const RowCall&, int64_t, int64_t);
void takeRowsRows(const RowCall&, int64_t, int64_t);
void putRowsRows(const RowCall&, int64_t, int64_t);
void logProbabilitiesRows(const RowCall&, int64_t, int64_t);
void segmentMeanRows(const RowCall&, int64_t, int64_t);
void accumulateSquaresRows(const RowCall&, int64_t, int64_t);
void causalConvRows(const RowCall&, int64_t, int64_t);
void gatedDeltaRows(const RowCall&, int64_t, int64_t);
void copySlotsRows(const RowCall&, int64_t, int64_t);

int64_t causalConvScratchBytes(const Program&, const std::vector<int32_t>& values);
int64_t gatedDeltaRowsScratchBytes(const Program&, const std::vector<int32_t>& values);

// The rows of several sequences, flattened: each ends where the next begins, the last at the end.
class Segments {
 public:
  // Throws usage/starts unless the starts ascend within the rows.
  Segments(const Tensor& starts, int64_t rows) : starts_(starts.integers()), count_(starts.dims[0]), rows_(rows) {
    for (int64_t i = 0; i < count_; i++) {
      if (begin(i) >= 0 && begin(i) <= end(i) && end(i) <= rows_) continue;
      throw Failure("usage/starts", "The starts of sequences must ascend within the rows.",
                    {{"sequence", i}, {"start", begin(i)}, {"end", end(i)}, {"rows", rows_}});
    }
  }

  int64_t count() const { return count_; }
  int64_t begin(int64_t segment) const { return starts_[segment]; }
  int64_t end(int64_t segment) const { return segment + 1 < count_ ? starts_[segment + 1] : rows_; }

 private:
  const int32_t* starts_;
  int64_t count_, rows_;
};

// Before a loop whose turns do not depend on each other although the compiler cannot see it: kernels write in place,
// each element after it was read, and without this such loops would not become vectors.
#if defined(__clang__)
#define UNICORN_EACH_ALONE _Pragma("clang loop vectorize(assume_safety)")
#elif defined(__GNUC__)
#define UNICORN_EACH_ALONE _Pragma("GCC ivdep")
#else
#define UNICORN_EACH_ALONE
#endif

// Calls f(start, count) for each run of consecutive elements that the rows [begin, end) of `view` are.
template <typename F>
void forEachRun(const RowView& view, int64_t begin, int64_t end, F&& f) {
  for (int64_t o = 0; o < view.outer; o++) f((o * view.rows + begin) * view.inner, (end - begin) * view.inner);
}

// Calls f(start) for each line of `columns` elements (the last axis) in the rows [begin, end).
template <typename F>
void forEachLine(const RowView& view, int64_t columns, int64_t begin, int64_t end, F&& f) {
  forEachRun(view, begin, end, [&](int64_t start, int64_t count) {
    for (int64_t at = start; at < start + count; at += columns) f(at);
  });
}

}  // namespace unicorn
