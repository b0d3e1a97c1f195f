#include "device.h"

#include <utility>

namespace toy {

using unicorn::Failure;

Device::Device(unicorn::JobListener listener) : listener_(std::move(listener)), thread_([this] { work(); }) {}

Device::~Device() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    closing_ = true;
  }
  condition_.notify_all();
  thread_.join();
}

void Device::add(uint32_t job, int64_t a, int64_t b, int64_t* sum) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    queue_.push_back({job, a, b, sum});
  }
  condition_.notify_one();
}

void Device::work() {
  for (;;) {
    Sum next;
    bool closing;
    {
      std::unique_lock<std::mutex> lock(mutex_);
      condition_.wait(lock, [&] { return closing_ || !queue_.empty(); });
      if (queue_.empty()) return;
      next = queue_.front();
      queue_.pop_front();
      closing = closing_;
    }
    if (closing) {
      const Failure failure("device/closed", "The device was closed before this job began.");
      listener_.ended(next.job, &failure);
    } else if (next.a + next.b < 0) {
      const Failure failure = Failure("usage/negative", "The sum of \"a\" and \"b\"\nis negative.",
                                      {{"a", next.a}, {"b", next.b}}, {{"device", "toy"}})
                                  .withFix("Use larger numbers.");
      listener_.ended(next.job, &failure);
    } else {
      *next.sum = next.a + next.b;
      listener_.ended(next.job, nullptr);
    }
  }
}

}  // namespace toy
