// Compares every kernel of every level that this processor runs with its slow twin, at odd sizes, and checks bit for bit
// that a result does not depend on how the work is cut. Argument: the folder of the shared goldens (optional).
// Prints one line per check and ends with status 1 when any failed.
#include <cstdio>

#include "check.h"

namespace unicorn::check {

int failures = 0;

void report(bool ok, const char* level, const std::string& what, double error, double bound) {
  if (!ok) failures++;
  std::printf("%s %-10s %s", ok ? "ok  " : "FAIL", level, what.c_str());
  if (bound > 0) std::printf("  (error %.3g, bound %.3g)", error, bound);
  std::printf("\n");
}

}  // namespace unicorn::check

int main(int argc, char** argv) {
  using namespace unicorn;
  using namespace unicorn::check;
  testHalf();
  testPacking();
  if (argc > 1) testGoldenDecode(argv[1]);
  for (const Level level : {Level::portable, Level::avx2, Level::avx512vnni}) {
    if (!levelAvailable(level)) {
      std::printf("skip %s: this processor does not have it\n", levelName(level));
      continue;
    }
    const Kernels& kernels = selectKernels(level);
    report(kernels.level == level && std::string(kernels.name) == levelName(level), kernels.name, "table");
    testDecode(kernels);
    testPack(kernels);
    testQuantize(kernels);
    testMatmulQuantized(kernels);
    testMatmulFloat(kernels);
    testMatmulInPlace(kernels);
    testAttention(kernels);
    testCausalConv(kernels);
    testGatedDelta(kernels);
    testFunctions(kernels);
  }
  std::printf(failures == 0 ? "all passed\n" : "%d FAILED\n", failures);
  return failures == 0 ? 0 : 1;
}
