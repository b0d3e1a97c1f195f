// Gemma 3n's AltUp: several residual streams [streams, tokens, features], mixed per token.

#include "rows.h"

namespace unicorn {

// Operands: streams, coefficients [tokens, streams * streams], out.
void altUpPredictRows(const RowCall& call, int64_t rowBegin, int64_t rowEnd) {
  const Tensor& streams = *call[0].tensor;
  const int64_t count = streams.dims[0];
  const int64_t tokens = streams.dims[1];
  const int64_t features = streams.dims[2];
  const float* x = streams.floats();
  const float* coefficients = call[1].tensor->floats();
  float* out = call[2].tensor->floats();
  for (int64_t token = rowBegin; token < rowEnd; token++) {
    for (int64_t b = 0; b < count; b++) {
      const int64_t at = (b * tokens + token) * features;
      const float* row = coefficients + (token * count + b) * count;
      for (int64_t a = 0; a < count; a++) {
        const float* source = x + (a * tokens + token) * features;
        if (a == 0) {
          for (int64_t i = 0; i < features; i++) out[at + i] = row[0] * source[i];
        } else {
          for (int64_t i = 0; i < features; i++) out[at + i] += row[a] * source[i];
        }
      }
      for (int64_t i = 0; i < features; i++) out[at + i] += x[at + i];
    }
  }
}

// Operands: predictions, activated [tokens, features], coefficients [tokens, streams], out; number: active.
void altUpCorrectRows(const RowCall& call, int64_t rowBegin, int64_t rowEnd) {
  const Tensor& shape = *call[0].tensor;
  const int64_t count = shape.dims[0];
  const int64_t tokens = shape.dims[1];
  const int64_t features = shape.dims[2];
  const float* predictions = shape.floats();
  const float* activated = call[1].tensor->floats();
  const float* coefficients = call[2].tensor->floats();
  float* out = call[3].tensor->floats();
  const auto active = static_cast<int64_t>(call.numbers[0]);
  for (int64_t token = rowBegin; token < rowEnd; token++) {
    const float* own = predictions + (active * tokens + token) * features;
    const float* target = activated + token * features;
    for (int64_t b = 0; b < count; b++) {
      const float factor = 1 + coefficients[token * count + b];
      const int64_t at = (b * tokens + token) * features;
      for (int64_t i = 0; i < features; i++) out[at + i] = predictions[at + i] + factor * (target[i] - own[i]);
    }
  }
}

// Operands: streams, value [tokens, features], out; number: active. In place over `streams` the active one is left as
// it is.
void altUpInjectRows(const RowCall& call, int64_t rowBegin, int64_t rowEnd) {
  const Tensor& shape = *call[0].tensor;
  const int64_t tokens = shape.dims[1];
  const int64_t features = shape.dims[2];
  const float* streams = shape.floats();
  const float* value = call[1].tensor->floats();
  float* out = call[2].tensor->floats();
  const auto active = static_cast<int64_t>(call.numbers[0]);
  for (int64_t b = 0; b < shape.dims[0]; b++) {
    const int64_t begin = (b * tokens + rowBegin) * features;
    const int64_t count = (rowEnd - rowBegin) * features;
    const float* added = value + rowBegin * features;
    if (b != active) {
      UNICORN_EACH_ALONE
      for (int64_t i = 0; i < count; i++) out[begin + i] = streams[begin + i] + added[i];
    } else if (out != streams) {
      for (int64_t i = 0; i < count; i++) out[begin + i] = streams[begin + i];
    }
  }
}

}  // namespace unicorn
