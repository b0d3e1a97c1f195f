// Material for tests and benchmarks: aligned memory, a small generator, weights of any block format.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "../kernels/kernels.h"

namespace unicorn::sample {

// SplitMix64 (Steele et al. 2014): the same numbers everywhere.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t bits() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  float uniform() { return static_cast<float>(bits() >> 40) * 0x1p-24f; }
  // About normal: the sum of four uniforms, scaled to variance one.
  float normal() { return (uniform() + uniform() + uniform() + uniform() - 2) * 1.7320508f; }
  int64_t below(int64_t n) { return static_cast<int64_t>(bits() % static_cast<uint64_t>(n)); }

 private:
  uint64_t state_;
};

// 64-byte aligned bytes with 64 more behind them that hold a pattern, so that a write beyond the end is noticed.
class Buffer {
 public:
  explicit Buffer(int64_t bytes) : bytes_(bytes), memory_(std::aligned_alloc(64, (bytes + 127) / 64 * 64), std::free) {
    std::memset(data(), 0xcc, static_cast<size_t>((bytes + 127) / 64 * 64));
  }
  uint8_t* data() const { return static_cast<uint8_t*>(memory_.get()); }
  float* floats() const { return static_cast<float*>(memory_.get()); }
  int64_t bytes() const { return bytes_; }
  bool intact() const {
    for (int64_t i = bytes_; i < (bytes_ + 127) / 64 * 64; i++) {
      if (data()[i] != 0xcc) return false;
    }
    return true;
  }

 private:
  int64_t bytes_;
  std::unique_ptr<void, decltype(&std::free)> memory_;
};

// Raw rows of a type: random bits, with f16 scales that keep values near one.
inline std::vector<uint8_t> weights(DType dtype, int64_t rows, int64_t columns, Random& random) {
  const DTypeLayout layout = dtypeLayout(dtype);
  std::vector<uint8_t> out(static_cast<size_t>(rows * rowBytes(dtype, columns)));
  for (auto& byte : out) byte = static_cast<uint8_t>(random.bits());
  const auto put = [&](size_t at, float value) {
    const uint16_t half = floatToHalf(value);
    std::memcpy(out.data() + at, &half, 2);
  };
  std::vector<int> scales;
  float size = 0.01f;
  switch (dtype) {
    case DType::q4_1:
    case DType::q5_1: scales = {0, 2}; break;
    case DType::q4_k:
    case DType::q5_k:
      scales = {0, 2};
      size = 0.001f;
      break;
    case DType::q2_k:
      scales = {80, 82};
      size = 0.01f;
      break;
    case DType::q3_k:
      scales = {108};
      size = 0.001f;
      break;
    case DType::q6_k:
      scales = {208};
      size = 0.0001f;
      break;
    case DType::iq4_nl:
    case DType::q8_0:
      scales = {0};
      size = 0.001f;
      break;
    case DType::iq4_xs:
      scales = {0};
      size = 0.0001f;
      break;
    default: scales = {0}; break;
  }
  if (layout.blockSize == 1) {
    for (size_t i = 0; i < out.size(); i += static_cast<size_t>(layout.blockBytes)) {
      const float value = random.normal();
      uint16_t bits;
      switch (dtype) {
        case DType::f32: std::memcpy(&out[i], &value, 4); break;
        case DType::f16:
          bits = floatToHalf(value);
          std::memcpy(&out[i], &bits, 2);
          break;
        case DType::bf16:
          bits = floatToBfloat(value);
          std::memcpy(&out[i], &bits, 2);
          break;
        default: break;
      }
    }
    return out;
  }
  for (size_t block = 0; block < out.size(); block += static_cast<size_t>(layout.blockBytes)) {
    for (const int at : scales) put(block + static_cast<size_t>(at), size * (0.5f + random.uniform()));
  }
  return out;
}

}  // namespace unicorn::sample
