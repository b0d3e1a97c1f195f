// Rows of a table, by token id; the table may be packed for products (a tied head).

#include "rows.h"

namespace unicorn {

// Operands: ids, table (matrix or tensor), out; numbers: scale, and 1 where an id past the table means row 0.
void embedRows(const RowCall& call, int64_t rowBegin, int64_t rowEnd) {
  const int32_t* ids = call[0].tensor->integers();
  const Tensor& out = *call[2].tensor;
  const int64_t columns = out.last();
  const bool stored = call.run.isMatrix(call.values[1]);
  const Matrix& matrix = call.run.matrix(call.values[1]);
  const Tensor& table = *call[1].tensor;
  const int64_t rows = stored ? matrix.rows : table.rows();
  const double scale = call.numbers[0];
  for (int64_t row = rowBegin; row < rowEnd; row++) {
    int64_t id = ids[row];
    // No token, which sample gives for logits that are no numbers.
    if (id == -1) id = 0;
    if (id < 0 || id >= rows) {
      if (id < 0 || call.numbers[1] == 0) {
        throw Failure("usage/token-id",
                      "Token id " + std::to_string(id) + " is outside the table of " + std::to_string(rows) + " rows.",
                      {{"id", id}, {"rows", rows}});
      }
      id = 0;
    }
    float* line = out.floats() + row * columns;
    if (!stored) {
      call.run.kernels.decode(table.dtype, table.data + id * rowBytes(table.dtype, columns), columns, line);
    } else if (matrix.form == WeightForm::packed) {
      decodePackedRow(matrix.dtype, matrix.data, matrix.storedColumns, id + matrix.rowShift, columns, line);
    } else {
      call.run.kernels.decode(matrix.dtype, matrix.data + id * matrix.rowStrideBytes, columns, line);
    }
    if (scale != 1) {
      for (int64_t i = 0; i < columns; i++) line[i] = static_cast<float>(line[i] * scale);
    }
  }
}

}  // namespace unicorn
