// Row kernels: ops whose result in a row depends on that row of their operands only, so that the members of the pool
// can run a chain of them over different rows with no barrier between. One kernel per op, named as the op.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "program.h"

namespace unicorn {

// An operand as a row kernel sees it: element (o, row, i) lies at (o * rows + row) * inner + i. An operand without a row
// axis (a bias, a table) is the same for all rows: `split` is false, rows is 1, and everything is in `inner`.
struct RowView {
  const Tensor* tensor;
  bool split;
  int axis;  // of the rows, in the tensor
  int64_t outer, rows, inner;

  template <typename T>
  T* at(int64_t o, int64_t row) const {
    return reinterpret_cast<T*>(tensor->data) + (o * rows + (split ? row : 0)) * inner;
  }
};

struct RowCall {
  Run& run;
  const RowView* operands;  // inputs, then outputs; an absent operand has a null tensor
  int operandCount;
  const int32_t* values;  // their value ids, for operands that are matrices
  const std::vector<double>& numbers;
  uint8_t* scratch;  // of this member: two decoded lines of the widest operand, and what the kernel asks for

  const RowView& operator[](int index) const { return operands[index]; }
  bool has(int index) const { return operands[index].tensor != nullptr; }
};

struct RowKernel {
  const char* name;
  void (*run)(const RowCall& call, int64_t rowBegin, int64_t rowEnd);
  // Bytes of scratch at the largest dims, where two lines are not enough. `values`: the ids of the operands.
  int64_t (*scratchBytes)(const Program& program, const std::vector<int32_t>& values);
};

// The kernel of that name, or null.
const RowKernel* findRowKernel(const std::string& name);

}  // namespace unicorn
