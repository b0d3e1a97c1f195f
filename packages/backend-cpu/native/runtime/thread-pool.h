// A team of threads that run one function at a time together: the calling thread is member 0, the rest are workers.
// Between calls and at barriers a member spins briefly, then parks. Not a task queue: who does what is the function's
// business, usually through `Team::claim`.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace unicorn {

// One turn of waiting for another thread, about 20 to 60 ns.
void relax();

// Lets `members` threads wait for each other, any number of times.
class Barrier {
 public:
  explicit Barrier(int members) : members_(members) {}

  void arrive();

 private:
  const int members_;
  alignas(64) std::atomic<int> arrived_{0};
  alignas(64) std::atomic<uint32_t> generation_{0};
  std::atomic<int> sleepers_{0};
  std::mutex mutex_;
  std::condition_variable condition_;
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

  // Runs `function(member)` on every member and returns when all are done. One caller at a time. The function must not
  // throw.
  void run(const Function& function);

  // Waits for all members. Only inside `run`, and every member must come.
  void barrier() { inside_.arrive(); }

 private:
  void work(int member);
  void stop();

  const int threads_;
  Barrier border_;  // begin and end of `run`
  Barrier inside_;
  const Function* function_ = nullptr;  // null: stop
  std::vector<std::thread> workers_;
};

}  // namespace unicorn
