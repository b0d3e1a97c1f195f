// Tasks that run on threads of their own, one each: what may take long and waits for no queue (compiling, loading). All
// end before this does. Knows nothing of Node.
#pragma once

#include <atomic>
#include <functional>
#include <list>
#include <thread>

namespace unicorn {

class Background {
 public:
  Background() = default;
  ~Background();  // asks all tasks to stop, and joins them
  Background(const Background&) = delete;
  Background& operator=(const Background&) = delete;

  // Runs `task`, which looks at `stop` now and then and must not throw. For one thread to call. Throws Failure
  // resource/threads.
  void start(std::function<void(const std::atomic<bool>& stop)> task);

 private:
  struct Task {
    std::thread thread;
    std::atomic<bool> done{false};
  };
  std::atomic<bool> stop_{false};
  std::list<Task> tasks_;
};

}  // namespace unicorn
