// What the test files share: the report, and material. Each file defines its part of the tests declared here.
#pragma once

#include <cstring>
#include <string>
#include <vector>

#include "reference.h"
#include "sample.h"

namespace unicorn::check {

using sample::Buffer;
using sample::Random;

// Prints one line; `failures` counts those that are not ok.
void report(bool ok, const char* level, const std::string& what, double error = 0, double bound = 0);
extern int failures;

constexpr DType packedTypes[] = {DType::q4_0,   DType::q4_1, DType::q5_0, DType::q5_1, DType::q8_0,
                                 DType::iq4_nl, DType::q4_k, DType::q5_k, DType::q6_k, DType::iq4_xs};

inline std::vector<float> randomFloats(int64_t count, Random& random) {
  std::vector<float> out(static_cast<size_t>(count));
  for (auto& x : out) x = random.normal();
  return out;
}

inline bool sameBits(const void* a, const void* b, int64_t bytes) {
  return std::memcmp(a, b, static_cast<size_t>(bytes)) == 0;
}

// rows-test.cpp
void testHalf();
void testGoldenDecode(const std::string& goldens);
void testDecode(const Kernels& kernels);
void testQuantize(const Kernels& kernels);
void testFunctions(const Kernels& kernels);

// matmul-test.cpp
void testPacking();
void testPack(const Kernels& kernels);
void testMatmulQuantized(const Kernels& kernels);
void testMatmulFloat(const Kernels& kernels);
void testMatmulInPlace(const Kernels& kernels);

// attention-test.cpp
void testAttention(const Kernels& kernels);

// recurrent-test.cpp
void testCausalConv(const Kernels& kernels);
void testGatedDelta(const Kernels& kernels);

}  // namespace unicorn::check
