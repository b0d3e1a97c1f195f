#include "bandwidth.h"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "memory.h"
#include "thread-pool.h"

namespace unicorn {
namespace {

constexpr int passes = 6;

// Sums of independent words, so that the processor may have many loads in flight.
uint64_t readAll(const uint8_t* data, int64_t byteLength) {
  uint64_t sums[8] = {};
  for (int64_t at = 0; at + 64 <= byteLength; at += 64) {
    uint64_t words[8];
    std::memcpy(words, data + at, sizeof words);
    for (int i = 0; i < 8; i++) sums[i] += words[i];
  }
  uint64_t total = 0;
  for (const uint64_t sum : sums) total += sum;
  return total;
}

}  // namespace

double measureReadBandwidth(int threads, int64_t byteLength) {
  ThreadPool pool(threads);
  const auto pages = Pages::allocate(static_cast<size_t>(byteLength), true);
  const int64_t share = byteLength / threads / 64 * 64;
  std::atomic<uint64_t> kept{0};  // so that the reads are not optimized away
  // Each member writes its own part first: untouched pages are all the same zero page, and live in the cache.
  pool.run(threads,
           [&](int member) { std::memset(pages->data() + member * share, member + 1, static_cast<size_t>(share)); });
  double best = 0;
  for (int pass = 0; pass < passes; pass++) {
    const auto begin = std::chrono::steady_clock::now();
    pool.run(threads, [&](int member) { kept += readAll(pages->data() + member * share, share); });
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    best = std::max(best, static_cast<double>(share) * threads / seconds);
  }
  return kept.load() == 0 ? 0 : best;
}

}  // namespace unicorn
