// Philox4x32-10 (Salmon et al. 2011): the same draws as packages/tensor/src/philox.ts.
#pragma once

#include <cstdint>

namespace unicorn {

// First word of the block for counter (counter, 0, 0, 0) under the key.
inline uint32_t philoxWord(uint32_t counter, uint32_t keyLow, uint32_t keyHigh) {
  uint32_t c0 = counter, c1 = 0, c2 = 0, c3 = 0;
  for (int round = 0; round < 10; round++) {
    // Multipliers and Weyl increments (golden ratio, sqrt(3) - 1) are the paper's.
    const uint64_t product0 = uint64_t{0xd2511f53} * c0;
    const uint64_t product1 = uint64_t{0xcd9e8d57} * c2;
    c0 = static_cast<uint32_t>(product1 >> 32) ^ c1 ^ keyLow;
    c1 = static_cast<uint32_t>(product1);
    c2 = static_cast<uint32_t>(product0 >> 32) ^ c3 ^ keyHigh;
    c3 = static_cast<uint32_t>(product0);
    keyLow += 0x9e3779b9;
    keyHigh += 0xbb67ae85;
  }
  return c0;
}

// The draw in [0, 1) for a position of a sequence: 24 bits.
inline double uniformAt(uint32_t seedLow, uint32_t seedHigh, uint32_t position) {
  return (philoxWord(position, seedLow, seedHigh) >> 8) * 0x1p-24;
}

}  // namespace unicorn
