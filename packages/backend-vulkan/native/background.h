// Jobs that do not wait for the queue: making pipelines, loading weights. Each has a thread; all end before this does.
#pragma once

#include <atomic>
#include <functional>
#include <list>
#include <thread>

namespace unicorn {

class Background {
 public:
  Background() = default;
  ~Background();  // asks all to stop, and joins
  Background(const Background&) = delete;
  Background& operator=(const Background&) = delete;

  // For one thread to call. Throws Failure resource/threads.
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
