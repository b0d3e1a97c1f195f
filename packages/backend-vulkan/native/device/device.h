// An opened device: its functions, queues, memory and what all pipelines share. Everything made on it keeps it alive; it
// has no threads (`queue.h` has).
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include <unicorn/failure.h>
#include "memory.h"
#include "physical-device.h"

namespace unicorn {

// Push constants that every device has; `pushConstantBytes` of src/dispatch/dispatch.ts.
constexpr uint32_t pushConstantBytes = 128;

class Device {
 public:
  // `pipelineCache`: what `pipelineCache()` of an earlier process gave, or nothing; that of another driver is ignored.
  // Throws Failure device/unavailable, resource/memory, device/driver.
  static std::shared_ptr<Device> open(std::shared_ptr<const PhysicalDevice> physical,
                                      const std::vector<uint8_t>& pipelineCache, std::string id);
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  const PhysicalDevice& physical() const { return *physical_; }
  const DeviceFunctions& vk() const { return vk_; }
  VkDevice handle() const { return handle_; }
  Memory& memory() { return *memory_; }
  VkPipelineLayout pipelineLayout() const { return pipelineLayout_; }
  VkPipelineCache vkPipelineCache() const { return pipelineCache_; }
  std::string name() const { return physical_->properties.deviceName; }
  // The id that JavaScript gave the device, by which failures name it.
  const std::string& id() const { return id_; }
  // A device that completes nothing for so long is taken for lost; zero: never.
  std::chrono::nanoseconds stallTimeout() const { return stallTimeout_; }

  std::vector<uint8_t> pipelineCache() const;

  // Submits to the queue of computing, or of uploads, which may be the same. Throws Failure device/lost, resource/memory.
  void submit(const VkSubmitInfo& info, bool upload);

  // Once lost a device stays lost: objects that were made on it can only be released.
  bool isLost() const { return lost_.load(); }
  // Notes that the device is lost, and says so. `where`: the function that said it.
  Failure lost(const std::string& where);
  Failure lostFailure() const;
  // The device no longer answers: nothing of it is destroyed, since it may still read and write all of it.
  void abandon() { abandoned_.store(true); }
  bool isAbandoned() const { return abandoned_.load(); }
  // Throws for everything but success.
  void check(VkResult result, const char* where);

  // Guards the command pool of recordings, which are made by one thread and let go of by others.
  std::mutex recordingMutex;
  VkCommandPool recordingPool = VK_NULL_HANDLE;

 private:
  Device() = default;
  std::shared_ptr<const PhysicalDevice> physical_;
  std::string id_;
  DeviceFunctions vk_;
  VkDevice handle_ = VK_NULL_HANDLE;
  std::array<VkQueue, 2> queues_{};
  std::array<std::mutex, 2> queueMutexes_;
  std::unique_ptr<Memory> memory_;
  VkPipelineLayout pipelineLayout_ = VK_NULL_HANDLE;
  VkPipelineCache pipelineCache_ = VK_NULL_HANDLE;
  std::chrono::nanoseconds stallTimeout_{0};
  std::atomic<bool> lost_{false};
  std::atomic<bool> abandoned_{false};
  mutable std::mutex lostMutex_;
  std::string lostWhere_;
};

// A semaphore that counts up. Lives as long as its holder.
class Timeline {
 public:
  explicit Timeline(std::shared_ptr<Device> device);
  ~Timeline();
  Timeline(const Timeline&) = delete;
  Timeline& operator=(const Timeline&) = delete;

  VkSemaphore handle() const { return handle_; }
  // Throws Failure device/lost.
  uint64_t value() const;
  // Waits until the value is reached: true. False when the device is lost, or completes nothing for its stall time-out,
  // after which it counts as lost and is abandoned. `spin`: ask for a while before the driver is let to wake us.
  bool await(uint64_t value, bool spin = false) const;

 private:
  bool wait(uint64_t value, uint64_t timeoutNs) const;

  std::shared_ptr<Device> device_;
  VkSemaphore handle_ = VK_NULL_HANDLE;
};

// A command pool with the buffers of one thread.
class CommandPool {
 public:
  explicit CommandPool(std::shared_ptr<Device> device);
  ~CommandPool();
  CommandPool(const CommandPool&) = delete;
  CommandPool& operator=(const CommandPool&) = delete;

  // Begun, to be submitted once.
  VkCommandBuffer begin();
  // Begins one again that has run.
  void beginAgain(VkCommandBuffer commands);
  void end(VkCommandBuffer commands);

 private:
  std::shared_ptr<Device> device_;
  VkCommandPool handle_ = VK_NULL_HANDLE;
};

}  // namespace unicorn
