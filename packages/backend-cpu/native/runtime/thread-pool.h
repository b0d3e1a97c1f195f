// A pool of threads whose members run one function at a time together: the calling thread is member 0, the rest are
// workers, and a call may leave the last of them out. Between calls and at barriers a member spins briefly, then parks.
// Not a task queue: who does what is the function's business, usually through `Turn::claim`.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace unicorn {

// One turn of waiting for another thread, about 20 to 60 ns.
void relax();

// Milliseconds on the steady clock.
double steadyMs();

// Lets its members wait for each other, any number of times.
class Barrier {
 public:
  // How many members wait for each other from now on. Only while nobody is inside.
  void expect(int members) { members_ = members; }

  // Returns when all members have come; with the milliseconds for which this one was parked until the last one came.
  double arrive();

 private:
  int members_ = 1;
  alignas(64) std::atomic<int> arrived_{0};
  alignas(64) std::atomic<uint32_t> generation_{0};
  std::atomic<int> sleepers_{0};
  std::mutex mutex_;
  std::condition_variable condition_;
  double passedMs_ = 0;  // when the last member came to parked ones; under the mutex
};

class ThreadPool {
 public:
  using Function = std::function<void(int member)>;

  // Starts threads - 1 workers. Throws Failure resource/threads when the system refuses one.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return threads_; }

  // Runs `function(member)` on the first `members` of the pool and returns when all are done; with the milliseconds for
  // which the most delayed one was ready, but the system let it wait for a processor. One caller at a time. The function
  // must not throw.
  double run(int members, const Function& function);

  // Waits for all members of the call. Only inside `run`, and every member must come.
  void barrier(int member) { members_[static_cast<size_t>(member)].parkedMs += barrier_.arrive(); }

 private:
  struct alignas(64) Member {
    double parkedMs = 0;  // in the call so far
    double lostMs = 0;    // in the call
    std::atomic<bool> sleeps{false};
    std::condition_variable wake;
    std::thread thread;  // none for member 0
  };

  void work(int member);
  void perform(int member);
  void call(int members);
  uint64_t awaitCall(int member, uint64_t last);
  void stop();

  const int threads_;
  std::unique_ptr<Member[]> members_;
  Barrier barrier_;
  // Calls so far in the high half, members of the last in the low half: one number, so that a worker that is late to a
  // call without it cannot mix two.
  alignas(64) std::atomic<uint64_t> call_{0};
  std::mutex mutex_;
  // Of the call.
  const Function* function_ = nullptr;  // null: stop
  double begunMs_ = 0;
};

}  // namespace unicorn
