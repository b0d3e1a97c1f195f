// A tensor as a running step sees it: storage with concrete dims. Dense and row-major; stored weights, whose rows may
// lie apart or be packed, are a `Matrix`.
#pragma once

#include <array>
#include <cstdint>

#include "../kernels/kernels.h"

namespace unicorn {

constexpr int maxRank = 8;

struct Tensor {
  uint8_t* data = nullptr;
  DType dtype = DType::f32;
  int rank = 0;
  std::array<int64_t, maxRank> dims{};

  float* floats() const { return reinterpret_cast<float*>(data); }
  int32_t* integers() const { return reinterpret_cast<int32_t*>(data); }
  int64_t last() const { return rank == 0 ? 1 : dims[static_cast<size_t>(rank - 1)]; }

  int64_t product(int begin, int end) const {
    int64_t result = 1;
    for (int axis = begin; axis < end; axis++) result *= dims[static_cast<size_t>(axis)];
    return result;
  }
  int64_t elements() const { return product(0, rank); }
  // All leading axes flattened.
  int64_t rows() const { return product(0, rank - 1); }
};

// A stored weight, or a part of it, as `matmul` and `embed` read it.
struct Matrix {
  DType dtype = DType::f32;
  WeightForm form = WeightForm::raw;
  const uint8_t* data = nullptr;  // first byte of the view; packed: the group (and column block) where it starts
  int64_t rows = 0, columns = 0;
  int64_t storedColumns = 0;
  int64_t rowStrideBytes = 0;  // but packed
  int64_t rowShift = 0;        // packed only: rows of the first group that lie before the view
};

}  // namespace unicorn
