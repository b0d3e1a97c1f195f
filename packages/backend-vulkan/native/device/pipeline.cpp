#include "pipeline.h"

#include <algorithm>
#include <exception>
#include <system_error>
#include <thread>

namespace unicorn {
namespace {

constexpr uint32_t spirvMagic = 0x07230203;
constexpr size_t spirvHeaderWords = 5;

// More threads than this gain nothing: drivers serialize a part of the work.
constexpr size_t maximumThreads = 8;

}  // namespace

Pipeline::~Pipeline() {
  if (ready() && !device_->isAbandoned()) device_->vk().DestroyPipeline(device_->handle(), handle(), nullptr);
}

void Pipeline::compile(const PipelineRequest& request) {
  const DeviceFunctions& vk = device_->vk();
  const PhysicalDevice& physical = device_->physical();
  if (request.shader.size() < spirvHeaderWords || request.shader[0] != spirvMagic) {
    throw Failure("internal/shader", "A shader is not SPIR-V.");
  }
  VkPipelineShaderStageRequiredSubgroupSizeCreateInfo subgroup{};
  subgroup.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_REQUIRED_SUBGROUP_SIZE_CREATE_INFO;
  subgroup.requiredSubgroupSize = request.subgroupSize;
  const uint32_t size = request.subgroupSize;
  // A device with one size only need not be asked for it.
  const bool fixed = physical.minSubgroupSize == physical.maxSubgroupSize && size == physical.subgroupSize;
  if (size != 0 && !fixed &&
      (!physical.requiredSubgroupSize || size < physical.minSubgroupSize || size > physical.maxSubgroupSize ||
       (size & (size - 1)) != 0)) {
    throw Failure(
        "unsupported/subgroup-size", device_->name() + " has no subgroups of " + std::to_string(size) + " invocations.",
        {{"subgroupSize", size}, {"minimum", physical.minSubgroupSize}, {"maximum", physical.maxSubgroupSize}});
  }
  std::vector<VkSpecializationMapEntry> entries(request.constants.size());
  for (uint32_t i = 0; i < entries.size(); i++) {
    entries[i] = {i, static_cast<uint32_t>(i * sizeof(uint32_t)), sizeof(uint32_t)};
  }
  VkSpecializationInfo specialization{};
  specialization.mapEntryCount = static_cast<uint32_t>(entries.size());
  specialization.pMapEntries = entries.data();
  specialization.dataSize = request.constants.size() * sizeof(uint32_t);
  specialization.pData = request.constants.data();

  VkShaderModuleCreateInfo module{};
  module.sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO;
  module.codeSize = request.shader.size() * sizeof(uint32_t);
  module.pCode = request.shader.data();
  VkComputePipelineCreateInfo info{};
  info.sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO;
  info.layout = device_->pipelineLayout();
  info.stage.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO;
  info.stage.pNext = size != 0 && !fixed ? &subgroup : nullptr;
  info.stage.stage = VK_SHADER_STAGE_COMPUTE_BIT;
  info.stage.pName = "main";
  info.stage.pSpecializationInfo = &specialization;
  device_->check(vk.CreateShaderModule(device_->handle(), &module, nullptr, &info.stage.module),
                 "vkCreateShaderModule");
  VkPipeline pipeline = VK_NULL_HANDLE;
  const VkResult result =
      vk.CreateComputePipelines(device_->handle(), device_->vkPipelineCache(), 1, &info, nullptr, &pipeline);
  vk.DestroyShaderModule(device_->handle(), info.stage.module, nullptr);
  device_->check(result, "vkCreateComputePipelines");
  handle_.store(pipeline);
}

void compilePipelines(const std::vector<std::shared_ptr<Pipeline>>& pipelines,
                      const std::vector<PipelineRequest>& requests, const std::atomic<bool>& stop) {
  std::atomic<size_t> next{0};
  std::mutex mutex;
  std::exception_ptr failure;
  const auto work = [&] {
    for (size_t at; !stop.load() && (at = next.fetch_add(1)) < pipelines.size();) {
      try {
        pipelines[at]->compile(requests[at]);
      } catch (...) {
        std::lock_guard<std::mutex> lock(mutex);
        if (!failure) failure = std::current_exception();
        next.store(pipelines.size());
      }
    }
  };
  const size_t wanted = std::min<size_t>({maximumThreads, std::thread::hardware_concurrency(), pipelines.size()});
  std::vector<std::thread> helpers;
  try {
    while (helpers.size() + 1 < wanted) helpers.emplace_back(work);
  } catch (const std::system_error&) {
    // Fewer helpers, then.
  }
  work();
  for (std::thread& helper : helpers) helper.join();
  if (failure) std::rethrow_exception(failure);
  if (stop.load()) throw Failure("device/closed", "The device was closed while it made pipelines.");
}

}  // namespace unicorn
