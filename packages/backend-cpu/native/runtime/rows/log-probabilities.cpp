// The kernel of logProbabilities: the log-softmax of a named token of each row, and of the best ones.

#include <algorithm>
#include <limits>

#include "rows.h"

namespace unicorn {
namespace {

constexpr float lowest = -std::numeric_limits<float>::infinity();
constexpr float notANumber = std::numeric_limits<float>::quiet_NaN();
// What sample gives for logits that are no numbers.
constexpr int64_t noToken = -1;

// Takes blocks, so that exponentials become vectors.
double sumOfExponentials(const Kernels& kernels, const float* x, int64_t count, float largest) {
  constexpr int64_t blockSize = 256;
  float block[blockSize];
  double total = 0;
  for (int64_t start = 0; start < count; start += blockSize) {
    const int64_t size = std::min(blockSize, count - start);
    for (int64_t i = 0; i < size; i++) block[i] = x[start + i] - largest;
    kernels.exp(block, size, block);
    for (int64_t i = 0; i < size; i++) total += block[i];
  }
  return total;
}

// The ids of the `top` largest, of equal ones the lower first.
void best(const float* x, int64_t count, int64_t top, int32_t* ids) {
  int64_t known = 0;
  for (int64_t id = 0; id < count; id++) {
    if (known == top && !(x[id] > x[ids[top - 1]])) continue;
    int64_t at = known < top ? known++ : top - 1;
    for (; at > 0 && x[id] > x[ids[at - 1]]; at--) ids[at] = ids[at - 1];
    ids[at] = static_cast<int32_t>(id);
  }
}

}  // namespace

// Operands: logits [rows, vocabulary], ids [rows], out [rows], and where the number `top` is not 0 the best ids and their
// values [rows, top].
void logProbabilitiesRows(const RowCall& call, int64_t rowBegin, int64_t rowEnd) {
  const int64_t vocabulary = call[0].tensor->last();
  const auto top = static_cast<int64_t>(call.numbers[0]);
  for (int64_t row = rowBegin; row < rowEnd; row++) {
    const int64_t id = call[1].tensor->integers()[row];
    if (id != noToken && (id < 0 || id >= vocabulary)) {
      throw Failure(
          "usage/token-id",
          "Token id " + std::to_string(id) + " is outside the vocabulary of " + std::to_string(vocabulary) + ".",
          {{"id", id}, {"rows", vocabulary}});
    }
    const float* x = call[0].tensor->floats() + row * vocabulary;
    float largest = lowest;
    for (int64_t i = 0; i < vocabulary; i++) largest = x[i] > largest ? x[i] : largest;
    const double sum = sumOfExponentials(call.run.kernels, x, vocabulary, largest);
    const double shift = static_cast<double>(largest) + std::log(sum);
    call[2].tensor->floats()[row] = id == noToken ? notANumber : static_cast<float>(x[id] - shift);
    if (top == 0) continue;
    int32_t* ids = call[3].tensor->integers() + row * top;
    float* values = call[4].tensor->floats() + row * top;
    best(x, vocabulary, top, ids);
    for (int64_t i = 0; i < top; i++) values[i] = static_cast<float>(x[ids[i]] - shift);
  }
}

}  // namespace unicorn
