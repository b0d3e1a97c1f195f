// Functions of one element, alone or with a second operand of the same or a broadcast shape.

#include <algorithm>
#include <array>

#include "rows.h"

namespace unicorn {
namespace {

constexpr auto sum = [](float a, float b) { return a + b; };
constexpr auto product = [](float a, float b) { return a * b; };

struct Strided {
  const Tensor* tensor;
  std::array<int64_t, maxRank> strides;  // elements; 0 on repeated axes
};

Strided broadcast(const Tensor& operand, const Tensor& out) {
  Strided result{&operand, {}};
  int64_t stride = 1;
  for (int axis = 1; axis <= operand.rank; axis++) {
    const int64_t dim = operand.dims[static_cast<size_t>(operand.rank - axis)];
    if (dim != 1) result.strides[static_cast<size_t>(out.rank - axis)] = stride;
    stride *= dim;
  }
  return result;
}

// The operand's elements along the last axis of out, from element `index` on, as floats with a stride of 0 or 1.
// Types other than f32 are decoded into `scratch`.
const float* line(const Strided& operand, const Kernels& kernels, int64_t index, float* scratch) {
  const Tensor& tensor = *operand.tensor;
  if (tensor.dtype == DType::f32) return tensor.floats() + index;
  // Blocks cannot be entered in the middle, so the whole line is decoded.
  const int64_t columns = tensor.last();
  kernels.decode(tensor.dtype, tensor.data + index / columns * rowBytes(tensor.dtype, columns), columns, scratch);
  return scratch + index % columns;
}

template <typename F>
void binary(const RowCall& call, int64_t rowBegin, int64_t rowEnd, F f) {
  const RowView& a = call[0];
  const RowView& b = call[1];
  const RowView& out = call[2];
  const bool floats = a.tensor->dtype == DType::f32 && b.tensor->dtype == DType::f32;
  if (floats && a.tensor->rank == out.tensor->rank && b.tensor->rank == out.tensor->rank &&
      a.tensor->dims == out.tensor->dims && b.tensor->dims == out.tensor->dims) {
    const float* left = a.tensor->floats();
    const float* right = b.tensor->floats();
    float* result = out.tensor->floats();
    forEachRun(out, rowBegin, rowEnd, [&](int64_t start, int64_t count) {
      UNICORN_EACH_ALONE
      for (int64_t i = start; i < start + count; i++) result[i] = f(left[i], right[i]);
    });
    return;
  }
  const Tensor& shape = *out.tensor;
  const Strided left = broadcast(*a.tensor, shape);
  const Strided right = broadcast(*b.tensor, shape);
  float* scratchA = reinterpret_cast<float*>(call.scratch);
  float* scratchB = scratchA + (shape.last() + 15) / 16 * 16;
  // Bounds of each axis: all of it, but for the axis of the rows.
  std::array<int64_t, maxRank> begin{}, end{}, index{};
  for (int axis = 0; axis < shape.rank; axis++) end[static_cast<size_t>(axis)] = shape.dims[static_cast<size_t>(axis)];
  if (out.split) {
    begin[static_cast<size_t>(out.axis)] = rowBegin;
    end[static_cast<size_t>(out.axis)] = rowEnd;
  }
  index = begin;
  const int lastAxis = shape.rank - 1;
  const auto lastIndex = static_cast<size_t>(std::max(lastAxis, 0));
  for (int axis = 0; axis < shape.rank; axis++) {
    if (begin[static_cast<size_t>(axis)] >= end[static_cast<size_t>(axis)]) return;
  }
  const int64_t from = shape.rank == 0 ? 0 : begin[lastIndex];
  const int64_t to = shape.rank == 0 ? 1 : end[lastIndex];
  const int64_t stepA = shape.rank == 0 ? 0 : left.strides[lastIndex];
  const int64_t stepB = shape.rank == 0 ? 0 : right.strides[lastIndex];
  for (;;) {
    int64_t atOut = 0, atA = 0, atB = 0;
    for (int axis = 0; axis < lastAxis; axis++) {
      const auto i = static_cast<size_t>(axis);
      atOut = (atOut + index[i]) * shape.dims[static_cast<size_t>(axis + 1)];
      atA += index[i] * left.strides[i];
      atB += index[i] * right.strides[i];
    }
    const float* x = line(left, call.run.kernels, atA, scratchA);
    const float* y = line(right, call.run.kernels, atB, scratchB);
    float* result = shape.floats() + atOut;
    if (stepA == 1 && stepB == 1) {
      UNICORN_EACH_ALONE
      for (int64_t i = from; i < to; i++) result[i] = f(x[i], y[i]);
    } else {
      for (int64_t i = from; i < to; i++) result[i] = f(x[i * stepA], y[i * stepB]);
    }
    int axis = lastAxis - 1;
    for (; axis >= 0; axis--) {
      const auto i = static_cast<size_t>(axis);
      if (++index[i] < end[i]) break;
      index[i] = begin[i];
    }
    if (axis < 0) return;
  }
}

}  // namespace

void addRows(const RowCall& call, int64_t rowBegin, int64_t rowEnd) { binary(call, rowBegin, rowEnd, sum); }

void multiplyRows(const RowCall& call, int64_t rowBegin, int64_t rowEnd) { binary(call, rowBegin, rowEnd, product); }

void scaleRows(const RowCall& call, int64_t rowBegin, int64_t rowEnd) {
  const float* x = call[0].tensor->floats();
  float* out = call[1].tensor->floats();
  const double factor = call.numbers[0];
  forEachRun(call[1], rowBegin, rowEnd, [&](int64_t start, int64_t count) {
    UNICORN_EACH_ALONE
    for (int64_t i = start; i < start + count; i++) out[i] = static_cast<float>(x[i] * factor);
  });
}

void activationRows(const RowCall& call, int64_t rowBegin, int64_t rowEnd) {
  const auto kind = static_cast<Activation>(call.numbers[0]);
  forEachRun(call[1], rowBegin, rowEnd, [&](int64_t start, int64_t count) {
    call.run.kernels.activate(kind, call[0].tensor->floats() + start, count, call[1].tensor->floats() + start);
  });
}

void gluRows(const RowCall& call, int64_t rowBegin, int64_t rowEnd) {
  const auto kind = static_cast<Activation>(call.numbers[0]);
  forEachRun(call[2], rowBegin, rowEnd, [&](int64_t start, int64_t count) {
    call.run.kernels.activateMultiply(kind, call[0].tensor->floats() + start, call[1].tensor->floats() + start, count,
                                      call[2].tensor->floats() + start);
  });
}

void softcapRows(const RowCall& call, int64_t rowBegin, int64_t rowEnd) {
  const auto cap = static_cast<float>(call.numbers[0]);
  forEachRun(call[1], rowBegin, rowEnd, [&](int64_t start, int64_t count) {
    call.run.kernels.softcap(cap, call[0].tensor->floats() + start, count, call[1].tensor->floats() + start);
  });
}

// Over the first axis, in its order.
void meanRows(const RowCall& call, int64_t rowBegin, int64_t rowEnd) {
  const float* x = call[0].tensor->floats();
  float* out = call[1].tensor->floats();
  const int64_t n = call[0].tensor->dims[0];
  const int64_t elements = call[1].tensor->elements();
  forEachRun(call[1], rowBegin, rowEnd, [&](int64_t start, int64_t count) {
    for (int64_t i = start; i < start + count; i++) {
      double total = 0;
      for (int64_t k = 0; k < n; k++) total += x[k * elements + i];
      out[i] = static_cast<float>(total / static_cast<double>(n));
    }
  });
}

}  // namespace unicorn
