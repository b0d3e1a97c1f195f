// Keys and values of tokens into their slots of the paged state, byte for byte as packages/tensor/src/format/kv.ts.

#include <cstring>

#include "../half-row.h"
#include "rows.h"

namespace unicorn {
namespace {

// ggml's q8_0: scale = max|x| / 127 stored as f16, quant = round half away from zero of x / (unrounded scale).
void encodeQ8(const float* values, int64_t count, uint8_t* out) {
  for (int64_t start = 0; start < count; start += 32, out += 34) {
    float top = 0;
    bool invalid = false;
    for (int64_t i = 0; i < 32; i++) {
      const float magnitude = std::fabs(values[start + i]);
      invalid |= magnitude != magnitude;
      top = magnitude > top ? magnitude : top;
    }
    const float scale = invalid ? std::nanf("") : static_cast<float>(static_cast<double>(top) / 127);
    const float inverse = scale == 0 ? 0 : static_cast<float>(1 / static_cast<double>(scale));
    const uint16_t half = floatToHalf(scale);
    std::memcpy(out, &half, 2);
    for (int64_t i = 0; i < 32; i++) {
      const float scaled = values[start + i] * inverse;
      // What is not finite becomes 0, as in a conversion of JavaScript's.
      const double magnitude = std::isfinite(scaled) ? std::floor(std::fabs(static_cast<double>(scaled)) + 0.5) : 0;
      out[2 + i] = static_cast<uint8_t>(static_cast<int8_t>(scaled < 0 ? -magnitude : magnitude));
    }
  }
}

void encodeRow(DType dtype, const float* values, int64_t count, uint8_t* out) {
  switch (dtype) {
    case DType::f32: std::memcpy(out, values, static_cast<size_t>(count) * sizeof(float)); return;
    case DType::f16: floatsToHalves(values, count, out); return;
    case DType::bf16:
      for (int64_t i = 0; i < count; i++) {
        const uint16_t bits = floatToBfloat(values[i]);
        std::memcpy(out + 2 * i, &bits, 2);
      }
      return;
    default: encodeQ8(values, count, out);
  }
}

}  // namespace

// Operands: state [blocks, parts, kvHeads, blockTokens, headDim], key, value [tokens, kvHeads, headDim], slots [tokens].
// Where there is one part, there is no value.
void kvWriteRows(const RowCall& call, int64_t rowBegin, int64_t rowEnd) {
  const Tensor& state = *call[0].tensor;
  const int64_t blocks = state.dims[0];
  const int64_t parts = state.dims[1];
  const int64_t heads = state.dims[2];
  const int64_t blockTokens = state.dims[3];
  const int64_t headDim = state.dims[4];
  const int64_t lineBytes = rowBytes(state.dtype, headDim);
  const int32_t* slots = call[3].tensor->integers();
  for (int64_t row = rowBegin; row < rowEnd; row++) {
    const int64_t slot = slots[row];
    if (slot < 0 || slot / blockTokens >= blocks) {
      throw Failure("usage/slot",
                    "Slot " + std::to_string(slot) + " is outside the pool of " + std::to_string(blocks) + " blocks.",
                    {{"slot", slot}, {"blocks", blocks}, {"blockTokens", blockTokens}});
    }
    for (int64_t part = 0; part < parts; part++) {
      const float* source = call[part == 0 ? 1 : 2].tensor->floats() + row * heads * headDim;
      for (int64_t head = 0; head < heads; head++) {
        const int64_t line = ((slot / blockTokens * parts + part) * heads + head) * blockTokens + slot % blockTokens;
        encodeRow(state.dtype, source + head * headDim, headDim, state.data + line * lineBytes);
      }
    }
  }
}

}  // namespace unicorn
