// An instance of Vulkan: the door to the machine's drivers, with the validation layer when it is asked for.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include <unicorn/failure.h>
#include "loader.h"

namespace unicorn {

// Collects the messages of the validation layer, from any thread.
class MessageSink {
 public:
  void add(std::string message);
  // All messages so far, which are forgotten.
  std::vector<std::string> take();

 private:
  std::mutex mutex_;
  std::vector<std::string> messages_;
};

class Instance {
 public:
  // Throws Failure device/unavailable with a fix: there is no loader, no driver, or no validation layer.
  static std::shared_ptr<Instance> create(bool validation, std::shared_ptr<MessageSink> sink);
  ~Instance();
  Instance(const Instance&) = delete;
  Instance& operator=(const Instance&) = delete;

  const Loader& loader() const { return *loader_; }
  const InstanceFunctions& vk() const { return vk_; }
  bool validation() const { return validation_; }
  // In the loader's order. Throws Failure device/unavailable when the drivers fail.
  std::vector<VkPhysicalDevice> physicalDevices() const;

 private:
  Instance() = default;
  std::shared_ptr<Loader> loader_;
  std::shared_ptr<MessageSink> sink_;
  InstanceFunctions vk_;
  VkInstance handle_ = VK_NULL_HANDLE;
  VkDebugUtilsMessengerEXT messenger_ = VK_NULL_HANDLE;
  bool validation_ = false;
};

// The name of a VkResult, for sentences.
std::string resultName(VkResult result);

}  // namespace unicorn
