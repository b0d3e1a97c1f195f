#include "thread-pool.h"

#include <time.h>

#include <algorithm>
#include <chrono>
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

double steadyMs() {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

namespace {

// Turns of `relax` before a member parks: long enough to bridge the imbalance of a step, and a caller's way from the end
// of one job to the next, since waking a parked thread costs tens of microseconds. The processor is not offered to
// others meanwhile (sched_yield): on a busy machine that gives away a whole time slice, while a parked thread is put back
// to work as soon as it is woken.
constexpr int spins = 2000;

// Processor time of the calling thread in milliseconds.
double processorMs() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) * 1e3 + static_cast<double>(time.tv_nsec) * 1e-6;
}

int membersOf(uint64_t call) { return static_cast<int>(call & 0xffffffff); }

}  // namespace

double Barrier::arrive() {
  // Read before this member counts as arrived: after the last one has, the next call may set another number.
  const int members = members_;
  if (members == 1) return 0;
  const uint32_t generation = generation_.load(std::memory_order_acquire);
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == members) {
    arrived_.store(0, std::memory_order_relaxed);
    generation_.fetch_add(1);
    if (sleepers_.load() > 0) {
      std::lock_guard<std::mutex> lock(mutex_);
      passedMs_ = steadyMs();
      condition_.notify_all();
    }
    return 0;
  }
  for (int spin = 0; spin < spins; spin++) {
    if (generation_.load(std::memory_order_acquire) != generation) return 0;
    relax();
  }
  const double parkedMs = steadyMs();
  std::unique_lock<std::mutex> lock(mutex_);
  sleepers_.fetch_add(1);
  // Sequentially consistent on both sides: either the last member sees this sleeper, or the sleeper sees the passage.
  condition_.wait(lock, [&] { return generation_.load() != generation; });
  sleepers_.fetch_sub(1);
  return std::max(0.0, passedMs_ - parkedMs);
}

ThreadPool::ThreadPool(int threads)
    : threads_(threads), members_(std::make_unique<Member[]>(static_cast<size_t>(threads))) {
  require(threads >= 1, "a pool has at least one thread");
  for (int member = 1; member < threads; member++) {
    try {
      members_[static_cast<size_t>(member)].thread = std::thread([this, member] { work(member); });
    } catch (const std::system_error&) {
      stop();
      throw Failure(
          "resource/threads",
          "The system refused to start thread " + std::to_string(member + 1) + " of " + std::to_string(threads) + ".",
          {{"threads", threads}});
    }
  }
}

ThreadPool::~ThreadPool() { stop(); }

void ThreadPool::stop() {
  function_ = nullptr;
  call(threads_);
  for (int member = 1; member < threads_; member++) {
    std::thread& thread = members_[static_cast<size_t>(member)].thread;
    if (thread.joinable()) thread.join();
  }
}

double ThreadPool::run(int members, const Function& function) {
  barrier_.expect(members);
  if (members == 1) {
    function(0);
    return 0;
  }
  function_ = &function;
  begunMs_ = steadyMs();
  call(members);
  perform(0);
  double lostMs = 0;
  for (int member = 0; member < members; member++) {
    lostMs = std::max(lostMs, members_[static_cast<size_t>(member)].lostMs);
  }
  return lostMs;
}

void ThreadPool::perform(int member) {
  Member& self = members_[static_cast<size_t>(member)];
  self.parkedMs = 0;
  const double processor = processorMs();
  (*function_)(member);
  self.lostMs = steadyMs() - begunMs_ - self.parkedMs - (processorMs() - processor);
  barrier_.arrive();
}

void ThreadPool::call(int members) {
  const uint64_t calls = (call_.load(std::memory_order_relaxed) >> 32) + 1;
  call_.store(calls << 32 | static_cast<uint32_t>(members));
  for (int member = 1; member < members; member++) {
    Member& worker = members_[static_cast<size_t>(member)];
    if (!worker.sleeps.load()) continue;
    // The lock lets a worker that has looked for the call, but does not sleep yet, fall asleep first.
    { std::lock_guard<std::mutex> lock(mutex_); }
    worker.wake.notify_one();
  }
}

// The next call after `last` that this worker has a part in. One left out of a call parks at once: it must not take
// a processor from those who work.
uint64_t ThreadPool::awaitCall(int member, uint64_t last) {
  uint64_t call = last;
  const auto called = [&] {
    call = call_.load();
    return call != last && membersOf(call) > member;
  };
  for (int spin = 0; spin < spins; spin++) {
    if (called()) return call;
    if (call != last) break;
    relax();
  }
  Member& self = members_[static_cast<size_t>(member)];
  std::unique_lock<std::mutex> lock(mutex_);
  // Sequentially consistent on both sides: either the caller sees the sleeper, or the sleeper sees the call.
  self.sleeps.store(true);
  self.wake.wait(lock, called);
  self.sleeps.store(false);
  return call;
}

void ThreadPool::work(int member) {
  uint64_t last = 0;
  for (;;) {
    last = awaitCall(member, last);
    if (function_ == nullptr) return;
    perform(member);
  }
}

}  // namespace unicorn
