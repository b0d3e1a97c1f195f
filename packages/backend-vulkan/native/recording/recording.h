// A command buffer that is submitted again and again: dispatches with their push constants, barriers where the words say
// so, and timestamps on demand. It knows buffers and weights by their addresses only.
#pragma once

#include <memory>
#include <vector>

#include "../device/pipeline.h"

namespace unicorn {

// The caller keeps the memory that the addresses point to.
class Recording {
 public:
  // `words` as `record` of src/addon.ts says. Throws Failure internal/invariant where they make no sense.
  static std::shared_ptr<Recording> make(const std::shared_ptr<Device>& device,
                                         std::vector<std::shared_ptr<Pipeline>> pipelines, const uint32_t* words,
                                         size_t wordCount, bool timed);
  ~Recording();
  Recording(const Recording&) = delete;
  Recording& operator=(const Recording&) = delete;

  VkCommandBuffer commands() const { return commands_; }
  void noteSubmitted() { submitted_.store(true); }
  const Device& device() const { return *device_; }
  // Nanoseconds of each dispatch in the last run, which has ended. Throws Failure usage/timings without one.
  std::vector<double> timings() const;

 private:
  Recording() = default;
  void write(const std::vector<size_t>& dispatches, const uint32_t* words);

  std::shared_ptr<Device> device_;
  std::vector<std::shared_ptr<Pipeline>> pipelines_;
  VkCommandBuffer commands_ = VK_NULL_HANDLE;
  VkQueryPool timestamps_ = VK_NULL_HANDLE;
  uint32_t timed_ = 0;  // dispatches with timestamps
  std::atomic<bool> submitted_{false};
};

}  // namespace unicorn
