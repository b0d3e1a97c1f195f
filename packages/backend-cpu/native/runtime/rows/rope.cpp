// Rotary embedding in two kernels: the sines and cosines of a step's positions, once for all layers that share the
// frequencies, and the turning of heads by them.

#include <cstring>

#include "rows.h"

namespace unicorn {

// Operands: positions, frequencies, out [tokens, 2, pairs]: cosines, then sines.
void ropeTableRows(const RowCall& call, int64_t rowBegin, int64_t rowEnd) {
  const int32_t* positions = call[0].tensor->integers();
  const float* frequencies = call[1].tensor->floats();
  const int64_t pairs = call[1].tensor->elements();
  float* out = call[2].tensor->floats();
  const double magnitude = call.numbers[0];
  for (int64_t row = rowBegin; row < rowEnd; row++) {
    float* cosines = out + row * 2 * pairs;
    float* sines = cosines + pairs;
    for (int64_t pair = 0; pair < pairs; pair++) {
      // The angle is rounded to f32 before the sine, as checkpoints were trained with.
      const auto angle = static_cast<float>(static_cast<double>(positions[row]) * frequencies[pair]);
      cosines[pair] = static_cast<float>(static_cast<float>(std::cos(static_cast<double>(angle))) * magnitude);
      sines[pair] = static_cast<float>(static_cast<float>(std::sin(static_cast<double>(angle))) * magnitude);
    }
  }
}

// Operands: x [tokens, heads, headDim], table, out.
void ropeRows(const RowCall& call, int64_t rowBegin, int64_t rowEnd) {
  const Tensor& x = *call[0].tensor;
  const Tensor& table = *call[1].tensor;
  const int64_t heads = x.dims[1];
  const int64_t headDim = x.dims[2];
  const int64_t pairs = table.last();
  const bool interleaved = call.numbers[0] != 0;
  for (int64_t row = rowBegin; row < rowEnd; row++) {
    const float* cosines = table.floats() + row * 2 * pairs;
    const float* sines = cosines + pairs;
    for (int64_t head = 0; head < heads; head++) {
      const int64_t start = (row * heads + head) * headDim;
      const float* in = x.floats() + start;
      float* out = call[2].tensor->floats() + start;
      if (interleaved) {
        for (int64_t pair = 0; pair < pairs; pair++) {
          const float a = in[2 * pair];
          const float b = in[2 * pair + 1];
          out[2 * pair] = a * cosines[pair] - b * sines[pair];
          out[2 * pair + 1] = b * cosines[pair] + a * sines[pair];
        }
      } else {
        UNICORN_EACH_ALONE
        for (int64_t pair = 0; pair < pairs; pair++) {
          const float a = in[pair];
          const float b = in[pairs + pair];
          out[pair] = a * cosines[pair] - b * sines[pair];
          out[pairs + pair] = b * cosines[pair] + a * sines[pair];
        }
      }
      if (out != in && 2 * pairs < headDim) {
        std::memcpy(out + 2 * pairs, in + 2 * pairs, static_cast<size_t>(headDim - 2 * pairs) * sizeof(float));
      }
    }
  }
}

}  // namespace unicorn
