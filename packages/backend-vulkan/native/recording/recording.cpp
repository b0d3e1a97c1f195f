#include "recording.h"

namespace unicorn {
namespace {

// Words of a dispatch before its push constants: pipeline, groups x, y, z, barrier, number of push constant words.
constexpr size_t headWords = 6;

void barrier(const DeviceFunctions& vk, VkCommandBuffer commands, VkPipelineStageFlags from, VkAccessFlags written,
             VkPipelineStageFlags to, VkAccessFlags accessed) {
  VkMemoryBarrier memory{};
  memory.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER;
  memory.srcAccessMask = written;
  memory.dstAccessMask = accessed;
  vk.CmdPipelineBarrier(commands, from, to, 0, 1, &memory, 0, nullptr, 0, nullptr);
}

// The index of the first word of each dispatch. Checks everything that would be undefined behaviour in the driver.
std::vector<size_t> parse(const PhysicalDevice& physical, const std::vector<std::shared_ptr<Pipeline>>& pipelines,
                          const uint32_t* words, size_t wordCount) {
  const uint32_t* limits = physical.properties.limits.maxComputeWorkGroupCount;
  std::vector<size_t> starts;
  for (size_t at = 0; at < wordCount;) {
    require(wordCount - at >= headWords, "a dispatch has all of its words");
    const uint32_t* head = words + at;
    require(head[0] < pipelines.size(), "a dispatch names one of the pipelines");
    for (int axis = 0; axis < 3; axis++) {
      require(head[1 + axis] <= limits[axis], "the groups of a dispatch are within the device's limits");
    }
    require(head[4] <= 1, "a barrier is there or not");
    require(head[5] <= pushConstantBytes / sizeof(uint32_t) && head[5] <= wordCount - at - headWords,
            "the push constants of a dispatch are there and within the limit");
    starts.push_back(at);
    at += headWords + head[5];
  }
  return starts;
}

}  // namespace

std::shared_ptr<Recording> Recording::make(const std::shared_ptr<Device>& device,
                                           std::vector<std::shared_ptr<Pipeline>> pipelines, const uint32_t* words,
                                           size_t wordCount, bool timed) {
  for (const auto& pipeline : pipelines) {
    require(&pipeline->device() == device.get(), "a pipeline belongs to the device");
    require(pipeline->ready(), "pipelines are made before they are recorded");
  }
  const std::vector<size_t> starts = parse(device->physical(), pipelines, words, wordCount);
  if (device->isLost()) throw device->lostFailure();
  if (timed && device->physical().timestampBits == 0) {
    throw Failure("unsupported/timestamps", device->name() + " has no timestamps.");
  }
  auto recording = std::shared_ptr<Recording>(new Recording());
  recording->device_ = device;
  recording->pipelines_ = std::move(pipelines);
  const DeviceFunctions& vk = device->vk();
  if (timed) {
    VkQueryPoolCreateInfo info{};
    info.sType = VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO;
    info.queryType = VK_QUERY_TYPE_TIMESTAMP;
    info.queryCount = static_cast<uint32_t>(starts.size()) + 1;
    device->check(vk.CreateQueryPool(device->handle(), &info, nullptr, &recording->timestamps_), "vkCreateQueryPool");
    recording->timed_ = static_cast<uint32_t>(starts.size());
  }
  VkCommandBufferAllocateInfo info{};
  info.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO;
  info.commandPool = device->recordingPool;
  info.level = VK_COMMAND_BUFFER_LEVEL_PRIMARY;
  info.commandBufferCount = 1;
  std::lock_guard<std::mutex> lock(device->recordingMutex);
  device->check(vk.AllocateCommandBuffers(device->handle(), &info, &recording->commands_), "vkAllocateCommandBuffers");
  try {
    recording->write(starts, words);
  } catch (...) {
    // The destructor would take the mutex again.
    vk.FreeCommandBuffers(device->handle(), device->recordingPool, 1, &recording->commands_);
    recording->commands_ = VK_NULL_HANDLE;
    throw;
  }
  return recording;
}

void Recording::write(const std::vector<size_t>& dispatches, const uint32_t* words) {
  const DeviceFunctions& vk = device_->vk();
  VkCommandBufferBeginInfo begin{};
  begin.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO;
  // The next step is submitted before the last one has ended.
  begin.flags = VK_COMMAND_BUFFER_USAGE_SIMULTANEOUS_USE_BIT;
  device_->check(vk.BeginCommandBuffer(commands_, &begin), "vkBeginCommandBuffer");
  if (timestamps_ != VK_NULL_HANDLE) vk.CmdResetQueryPool(commands_, timestamps_, 0, timed_ + 1);
  constexpr VkPipelineStageFlags compute = VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT;
  constexpr VkPipelineStageFlags transfer = VK_PIPELINE_STAGE_TRANSFER_BIT;
  constexpr VkAccessFlags shaderReadWrite = VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT;
  // After everything that was submitted before.
  barrier(vk, commands_, compute | transfer, VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT, compute,
          shaderReadWrite);
  if (timestamps_ != VK_NULL_HANDLE) {
    vk.CmdWriteTimestamp(commands_, VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT, timestamps_, 0);
  }
  VkPipeline bound = VK_NULL_HANDLE;
  uint32_t query = 1;
  for (const size_t at : dispatches) {
    const uint32_t* head = words + at;
    if (head[4] != 0) barrier(vk, commands_, compute, VK_ACCESS_SHADER_WRITE_BIT, compute, shaderReadWrite);
    const VkPipeline pipeline = pipelines_[head[0]]->handle();
    if (pipeline != bound) vk.CmdBindPipeline(commands_, VK_PIPELINE_BIND_POINT_COMPUTE, pipeline);
    bound = pipeline;
    if (head[5] != 0) {
      vk.CmdPushConstants(commands_, device_->pipelineLayout(), VK_SHADER_STAGE_COMPUTE_BIT, 0,
                          head[5] * static_cast<uint32_t>(sizeof(uint32_t)), head + headWords);
    }
    vk.CmdDispatch(commands_, head[1], head[2], head[3]);
    if (timestamps_ != VK_NULL_HANDLE) {
      vk.CmdWriteTimestamp(commands_, VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT, timestamps_, query++);
    }
  }
  // What was left in mapped memory is the host's to read when the run has ended.
  barrier(vk, commands_, compute, VK_ACCESS_SHADER_WRITE_BIT, VK_PIPELINE_STAGE_HOST_BIT, VK_ACCESS_HOST_READ_BIT);
  device_->check(vk.EndCommandBuffer(commands_), "vkEndCommandBuffer");
}

Recording::~Recording() {
  if (device_->isAbandoned()) return;
  const DeviceFunctions& vk = device_->vk();
  if (commands_ != VK_NULL_HANDLE) {
    std::lock_guard<std::mutex> lock(device_->recordingMutex);
    vk.FreeCommandBuffers(device_->handle(), device_->recordingPool, 1, &commands_);
  }
  if (timestamps_ != VK_NULL_HANDLE) vk.DestroyQueryPool(device_->handle(), timestamps_, nullptr);
}

std::vector<double> Recording::timings() const {
  if (timestamps_ == VK_NULL_HANDLE) throw Failure("usage/timings", "The recording was made without timestamps.");
  if (!submitted_.load()) throw Failure("usage/timings", "The recording has not run yet.");
  std::vector<uint64_t> ticks(timed_ + 1);
  const VkResult result =
      device_->vk().GetQueryPoolResults(device_->handle(), timestamps_, 0, timed_ + 1, ticks.size() * sizeof(uint64_t),
                                        ticks.data(), sizeof(uint64_t), VK_QUERY_RESULT_64_BIT);
  if (result == VK_NOT_READY) throw Failure("usage/timings", "The recording has not run to its end yet.");
  device_->check(result, "vkGetQueryPoolResults");
  const uint32_t bits = device_->physical().timestampBits;
  const uint64_t mask = bits >= 64 ? ~uint64_t{0} : (uint64_t{1} << bits) - 1;
  const double period = device_->physical().properties.limits.timestampPeriod;
  std::vector<double> nanoseconds(timed_);
  for (uint32_t i = 0; i < timed_; i++) {
    nanoseconds[i] = static_cast<double>((ticks[i + 1] - ticks[i]) & mask) * period;
  }
  return nanoseconds;
}

}  // namespace unicorn
