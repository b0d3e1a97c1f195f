// Compute pipelines: a shader with its specialization constants, compiled by the driver.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "device.h"

namespace unicorn {

struct PipelineRequest {
  std::vector<uint32_t> shader;     // SPIR-V; its entry point is `main`
  std::vector<uint32_t> constants;  // of constant ids 0, 1, ...
  uint32_t subgroupSize = 0;        // 0: the driver chooses
};

// Empty until it was compiled.
class Pipeline {
 public:
  explicit Pipeline(std::shared_ptr<Device> device) : device_(std::move(device)) {}
  ~Pipeline();
  Pipeline(const Pipeline&) = delete;
  Pipeline& operator=(const Pipeline&) = delete;

  // Throws Failure device/driver, unsupported/subgroup-size, internal/shader.
  void compile(const PipelineRequest& request);
  bool ready() const { return handle_.load() != VK_NULL_HANDLE; }
  VkPipeline handle() const { return handle_.load(); }
  const Device& device() const { return *device_; }

 private:
  std::shared_ptr<Device> device_;
  std::atomic<VkPipeline> handle_{VK_NULL_HANDLE};
};

// Compiles them all, several at a time; ends early when `stop` is set. Throws the first failure.
void compilePipelines(const std::vector<std::shared_ptr<Pipeline>>& pipelines,
                      const std::vector<PipelineRequest>& requests, const std::atomic<bool>& stop);

}  // namespace unicorn
