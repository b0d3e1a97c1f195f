// Kernels of ops that move elements of any scalar type and compute nothing.

#include <array>
#include <cstring>

#include "rows.h"

namespace unicorn {
namespace {

using Extents = std::array<int64_t, maxRank>;

Extents stridesOf(const Tensor& tensor) {
  Extents strides{};
  int64_t stride = 1;
  for (int axis = tensor.rank - 1; axis >= 0; axis--) {
    strides[static_cast<size_t>(axis)] = stride;
    stride *= tensor.dims[static_cast<size_t>(axis)];
  }
  return strides;
}

struct Block {
  const Tensor* from;
  int64_t fromStart;  // elements
  const Tensor* to;
  int64_t toStart;
  Extents extents;  // elements along each axis
};

// Copies a box of elements between two tensors of one rank.
void copyBlock(const Block& block) {
  const int rank = block.to->rank;
  const Extents from = stridesOf(*block.from);
  const Extents to = stridesOf(*block.to);
  const auto size = static_cast<size_t>(dtypeLayout(block.to->dtype).blockBytes);
  // Trailing axes that are whole in both tensors are one run.
  int64_t run = 1;
  int axes = rank;
  while (axes > 0) {
    const auto i = static_cast<size_t>(axes - 1);
    run *= block.extents[i];
    axes--;
    if (block.extents[i] != block.from->dims[i] || block.extents[i] != block.to->dims[i]) break;
  }
  if (run == 0) return;
  for (int axis = 0; axis < axes; axis++) {
    if (block.extents[static_cast<size_t>(axis)] == 0) return;
  }
  Extents index{};
  for (;;) {
    int64_t source = block.fromStart;
    int64_t target = block.toStart;
    for (int axis = 0; axis < axes; axis++) {
      const auto i = static_cast<size_t>(axis);
      source += index[i] * from[i];
      target += index[i] * to[i];
    }
    std::memcpy(block.to->data + static_cast<size_t>(target) * size,
                block.from->data + static_cast<size_t>(source) * size, static_cast<size_t>(run) * size);
    int axis = axes - 1;
    for (; axis >= 0; axis--) {
      const auto i = static_cast<size_t>(axis);
      if (++index[i] < block.extents[i]) break;
      index[i] = 0;
    }
    if (axis < 0) return;
  }
}

// Narrows a box to the rows of a call. `split` has the row axis of both tensors, which is the same.
void narrow(Block& block, const RowView& split, int64_t rowBegin, int64_t rowEnd) {
  if (!split.split) return;
  const auto axis = static_cast<size_t>(split.axis);
  block.fromStart += rowBegin * stridesOf(*block.from)[axis];
  block.toStart += rowBegin * stridesOf(*block.to)[axis];
  block.extents[axis] = rowEnd - rowBegin;
}

void checkRow(int64_t row, int64_t rows) {
  if (row >= 0 && row < rows) return;
  throw Failure("usage/row",
                "Row " + std::to_string(row) + " is outside the " + std::to_string(rows) + " rows of the axis.",
                {{"row", row}, {"rows", rows}});
}

}  // namespace

// Operands: x, out of the same element count.
void copyRows(const RowCall& call, int64_t rowBegin, int64_t rowEnd) {
  const Tensor& x = *call[0].tensor;
  const Tensor& out = *call[1].tensor;
  const int64_t size = rowBytes(out.dtype, out.last());
  // Rows are whole lines here, so block types copy too.
  const int64_t lines = out.rows();
  const RowView& view = call[1];
  const int64_t perRow = view.split ? lines / (view.outer * view.rows) : lines;
  for (int64_t o = 0; o < view.outer; o++) {
    const int64_t begin = view.split ? (o * view.rows + rowBegin) * perRow : 0;
    const int64_t count = view.split ? (rowEnd - rowBegin) * perRow : lines;
    std::memcpy(out.data + begin * size, x.data + begin * size, static_cast<size_t>(count * size));
  }
}

// Operands: x, out; numbers: axis, start.
void sliceRows(const RowCall& call, int64_t rowBegin, int64_t rowEnd) {
  const Tensor& x = *call[0].tensor;
  const Tensor& out = *call[1].tensor;
  const auto axis = static_cast<size_t>(call.numbers[0]);
  const auto start = static_cast<int64_t>(call.numbers[1]);
  Block block{&x, start * stridesOf(x)[axis], &out, 0, out.dims};
  narrow(block, call[1], rowBegin, rowEnd);
  copyBlock(block);
}

// Operands: the parts, then out; number: axis.
void concatRows(const RowCall& call, int64_t rowBegin, int64_t rowEnd) {
  const Tensor& out = *call[call.operandCount - 1].tensor;
  const auto axis = static_cast<size_t>(call.numbers[0]);
  int64_t at = 0;
  for (int part = 0; part + 1 < call.operandCount; part++) {
    const Tensor& x = *call[part].tensor;
    Block block{&x, 0, &out, at * stridesOf(out)[axis], x.dims};
    narrow(block, call[call.operandCount - 1], rowBegin, rowEnd);
    copyBlock(block);
    at += x.dims[axis];
  }
}

// Operands: x, rows [count], out; number: axis. The row axis of the call, if any, is that axis of out.
void takeRowsRows(const RowCall& call, int64_t rowBegin, int64_t rowEnd) {
  const Tensor& x = *call[0].tensor;
  const int32_t* rows = call[1].tensor->integers();
  const Tensor& out = *call[2].tensor;
  const auto axis = static_cast<size_t>(call.numbers[0]);
  const int64_t begin = call[2].split ? rowBegin : 0;
  const int64_t end = call[2].split ? rowEnd : out.dims[axis];
  for (int64_t at = begin; at < end; at++) {
    checkRow(rows[at], x.dims[axis]);
    Block block{&x, rows[at] * stridesOf(x)[axis], &out, at * stridesOf(out)[axis], out.dims};
    block.extents[axis] = 1;
    copyBlock(block);
  }
}

// Operands: x [n, ...], rows [count, ...], at [count], out; in place over x only the rows that are put in move.
void putRowsRows(const RowCall& call, int64_t rowBegin, int64_t rowEnd) {
  const Tensor& x = *call[0].tensor;
  const Tensor& rows = *call[1].tensor;
  const Tensor& out = *call[3].tensor;
  const int32_t* at = call[2].tensor->integers();
  const int64_t n = x.dims[0];
  if (!call[3].split) {
    rowBegin = 0;
    rowEnd = n;
  }
  const size_t bytes = static_cast<size_t>(x.product(1, x.rank)) * static_cast<size_t>(rowBytes(x.dtype, 1));
  const auto row = [bytes](const Tensor& tensor, int64_t index) {
    return tensor.data + static_cast<size_t>(index) * bytes;
  };
  if (out.data != x.data && rowEnd > rowBegin) {
    std::memcpy(row(out, rowBegin), row(x, rowBegin), static_cast<size_t>(rowEnd - rowBegin) * bytes);
  }
  const int64_t count = rows.dims[0];
  for (int64_t i = 0; i < count; i++) {
    checkRow(at[i], n);
    if (at[i] >= rowBegin && at[i] < rowEnd) std::memcpy(row(out, at[i]), row(rows, i), bytes);
  }
}

}  // namespace unicorn
