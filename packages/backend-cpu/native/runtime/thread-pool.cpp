#include "thread-pool.h"

#include <memory>
#include <system_error>

#include <unicorn/failure.h>

#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#endif

namespace unicorn {

void relax() {
#if defined(__x86_64__) || defined(_M_X64)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

namespace {

// Turns of `relax` before a member parks: long enough to bridge the imbalance of a step, and a caller's way from the end
// of one job to the next, since waking a parked thread costs tens of microseconds. The processor is not offered to
// others meanwhile (sched_yield): on a busy machine that gives away a whole time slice, while a parked thread is put back
// to work as soon as it is woken.
constexpr int spins = 2000;

}  // namespace

void Barrier::arrive() {
  if (members_ == 1) return;
  const uint32_t generation = generation_.load(std::memory_order_acquire);
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == members_) {
    arrived_.store(0, std::memory_order_relaxed);
    generation_.fetch_add(1);
    if (sleepers_.load() > 0) {
      std::lock_guard<std::mutex> lock(mutex_);
      condition_.notify_all();
    }
    return;
  }
  const auto passed = [&] { return generation_.load(std::memory_order_acquire) != generation; };
  for (int spin = 0; spin < spins; spin++) {
    if (passed()) return;
    relax();
  }
  std::unique_lock<std::mutex> lock(mutex_);
  sleepers_.fetch_add(1);
  // Sequentially consistent on both sides: either the last member sees this sleeper, or the sleeper sees the passage.
  condition_.wait(lock, [&] { return generation_.load() != generation; });
  sleepers_.fetch_sub(1);
}

ThreadPool::ThreadPool(int threads) : threads_(threads), border_(threads), inside_(threads) {
  require(threads >= 1, "a pool has at least one thread");
  workers_.reserve(static_cast<size_t>(threads - 1));
  // Threads wait behind this gate until all exist: the barriers count on all of them.
  auto gate = std::make_shared<std::atomic<int>>(0);
  for (int member = 1; member < threads; member++) {
    try {
      workers_.emplace_back([this, member, gate] {
        while (gate->load() == 0) std::this_thread::yield();
        if (gate->load() > 0) work(member);
      });
    } catch (const std::system_error&) {
      gate->store(-1);
      for (auto& worker : workers_) worker.join();
      throw Failure(
          "resource/threads",
          "The system refused to start thread " + std::to_string(member + 1) + " of " + std::to_string(threads) + ".",
          {{"threads", threads}});
    }
  }
  gate->store(1);
}

ThreadPool::~ThreadPool() {
  function_ = nullptr;
  border_.arrive();
  for (auto& worker : workers_) worker.join();
}

void ThreadPool::run(const Function& function) {
  function_ = &function;
  border_.arrive();
  function(0);
  border_.arrive();
}

void ThreadPool::work(int member) {
  for (;;) {
    border_.arrive();
    if (function_ == nullptr) return;
    (*function_)(member);
    border_.arrive();
  }
}

}  // namespace unicorn
