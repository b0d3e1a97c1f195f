// A device that knows nothing of Node: one thread that adds numbers, in the order in which it is asked.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <thread>

#include <unicorn/job-listener.h>

namespace toy {

class Device {
 public:
  explicit Device(unicorn::JobListener listener);
  ~Device();  // fails what is queued with device/closed, and joins

  // A job: writes a + b. Fails with usage/negative for a sum below zero.
  void add(uint32_t job, int64_t a, int64_t b, int64_t* sum);

 private:
  struct Sum {
    uint32_t job;
    int64_t a, b;
    int64_t* sum;
  };
  void work();

  unicorn::JobListener listener_;
  std::mutex mutex_;
  std::condition_variable condition_;
  std::deque<Sum> queue_;
  bool closing_ = false;
  std::thread thread_;
};

}  // namespace toy
