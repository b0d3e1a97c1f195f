// Finds the levels that this build has and that this processor and operating system can run.
#include "kernels.h"

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#endif

namespace unicorn {

namespace portable {
extern const Kernels kernels;
}
#if defined(__x86_64__)
namespace avx2 {
extern const Kernels kernels;
}
namespace avx512vnni {
extern const Kernels kernels;
}
#endif

namespace {

#if defined(__x86_64__)

// State components that the operating system saves: bit 1 xmm, bit 2 ymm, bits 5 to 7 mask registers and zmm.
uint64_t savedState() {
  uint32_t low, high;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return static_cast<uint64_t>(high) << 32 | low;
}

bool bit(uint32_t word, int index) { return (word >> index) & 1; }

Level detect() {
  uint32_t a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d)) return Level::portable;
  const bool osxsave = bit(c, 27);
  const bool avxBasics = bit(c, 28) && bit(c, 12) && bit(c, 29);  // AVX, FMA, F16C
  if (!osxsave || !avxBasics || (savedState() & 0x6) != 0x6) return Level::portable;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !bit(b, 5)) return Level::portable;      // AVX2
  const bool avx512 = bit(b, 16) && bit(b, 17) && bit(b, 30) && bit(b, 31) && bit(c, 11);  // F, DQ, BW, VL, VNNI
  return avx512 && (savedState() & 0xe6) == 0xe6 ? Level::avx512vnni : Level::avx2;
}

#else

Level detect() { return Level::portable; }

#endif

}  // namespace

const char* levelName(Level level) {
  switch (level) {
    case Level::portable: return "portable";
    case Level::avx2: return "avx2";
    case Level::avx512vnni: return "avx512vnni";
  }
  return "unknown";
}

Level bestLevel() {
  static const Level best = detect();
  return best;
}

// Levels are ordered: a processor that runs one runs all before it.
bool levelAvailable(Level level) { return level <= bestLevel(); }

const Kernels& selectKernels(Level level) {
#if defined(__x86_64__)
  if (level == Level::avx512vnni) return avx512vnni::kernels;
  if (level == Level::avx2) return avx2::kernels;
#endif
  (void)level;
  return portable::kernels;
}

}  // namespace unicorn
