// Tasks that run on threads of their own, one each: work that takes long and belongs to no queue, as compiling and loading.
// All of them have ended when the destructor returns. It knows nothing of Node.
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

  // Runs `task`, which looks at `stop` now and then and must not throw. Only one thread may call it. Throws Failure
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
