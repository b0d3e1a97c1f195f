// Converts rows of f32 to f16 without branches, so that compilers make vectors of it. The bits are those of `floatToHalf`.
#pragma once

#include <cstdint>
#include <cstring>

namespace unicorn {

inline uint16_t floatBitsToHalf(uint32_t bits) {
  const uint32_t magnitude = bits & 0x7fffffff;
  float absolute;
  std::memcpy(&absolute, &magnitude, 4);
  // Normal: rebias, drop 13 bits; adding 0xfff plus the kept lowest bit rounds ties to even.
  const uint32_t normal = (magnitude - (112U << 23) + 0xfff + ((magnitude >> 13) & 1)) >> 13;
  // Below 2^-14: in [0.5, 1) an f32 has steps of 2^-24, as subnormal halves have, so the addition rounds to them.
  const float shifted = absolute + 0.5F;
  uint32_t shiftedBits;
  std::memcpy(&shiftedBits, &shifted, 4);
  const uint32_t subnormal = shiftedBits - 0x3f000000;
  // A NaN whose payload lies only in the dropped bits must not become infinity.
  const uint32_t payload = (magnitude >> 13) & 0x3ff;
  const uint32_t invalid = 0x7c00 | payload | static_cast<uint32_t>(payload == 0);
  uint32_t half = magnitude < 0x38800000 ? subnormal : normal;
  half = magnitude >= 0x477ff000 ? 0x7c00 : half;
  half = magnitude > 0x7f800000 ? invalid : half;
  return static_cast<uint16_t>(((bits >> 16) & 0x8000) | half);
}

inline void floatsToHalves(const float* values, int64_t count, uint8_t* out) {
  constexpr int64_t block = 16;
  int64_t i = 0;
  // Through arrays of its own, so that the compiler need not fear that `out` overlaps `values`.
  for (; i + block <= count; i += block) {
    uint32_t bits[block];
    uint16_t halves[block];
    std::memcpy(bits, values + i, sizeof bits);
    for (int64_t j = 0; j < block; j++) halves[j] = floatBitsToHalf(bits[j]);
    std::memcpy(out + 2 * i, halves, sizeof halves);
  }
  for (; i < count; i++) {
    uint32_t bits;
    std::memcpy(&bits, values + i, 4);
    const uint16_t half = floatBitsToHalf(bits);
    std::memcpy(out + 2 * i, &half, 2);
  }
}

}  // namespace unicorn
