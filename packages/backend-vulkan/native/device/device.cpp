#include "device.h"

#include <cstdlib>
#include <cstring>

namespace unicorn {
namespace {

using Clock = std::chrono::steady_clock;

// How long a waiter polls before it lets the driver wake it: a step of a small model ends within it, and being woken costs
// tens of microseconds. A driver that computes on the CPU needs the core itself.
constexpr auto spinTime = std::chrono::microseconds(300);

// One wait of the driver: how much later than its time-out a stall may be noticed.
constexpr auto waitSlice = std::chrono::milliseconds(100);

// A device that completes nothing for a minute is taken for lost: the longest that Linux's GPU drivers give a compute job
// before they reset the device (amdgpu), and far above any step. A driver that computes on the CPU is never lost, only slow.
// UNICORN_VULKAN_TIMEOUT_MS overrides both; with 0 no device is ever taken for lost.
std::chrono::nanoseconds chooseStallTimeout(const PhysicalDevice& physical) {
  if (const char* text = std::getenv("UNICORN_VULKAN_TIMEOUT_MS"); text != nullptr && *text != '\0') {
    char* end = nullptr;
    const unsigned long long milliseconds = std::strtoull(text, &end, 10);
    if (*end == '\0' && milliseconds <= 86400000) return std::chrono::milliseconds(milliseconds);
  }
  return physical.software() ? std::chrono::minutes(0) : std::chrono::minutes(1);
}

// Extensions that are enabled where the device has them. PhysicalDevice has looked for those that are required.
void enable(Features& wanted, const Features& has) {
#define UNICORN_ENABLE(part, feature) wanted.part.feature = has.part.feature
  UNICORN_ENABLE(core.features, shaderInt16);
  UNICORN_ENABLE(core.features, shaderInt64);
  UNICORN_ENABLE(vulkan11, storageBuffer16BitAccess);
  UNICORN_ENABLE(vulkan11, uniformAndStorageBuffer16BitAccess);
  UNICORN_ENABLE(vulkan11, storagePushConstant16);
  UNICORN_ENABLE(vulkan12, storageBuffer8BitAccess);
  UNICORN_ENABLE(vulkan12, uniformAndStorageBuffer8BitAccess);
  UNICORN_ENABLE(vulkan12, storagePushConstant8);
  UNICORN_ENABLE(vulkan12, shaderInt8);
  UNICORN_ENABLE(vulkan12, shaderFloat16);
  UNICORN_ENABLE(vulkan12, bufferDeviceAddress);
  UNICORN_ENABLE(vulkan12, timelineSemaphore);
  UNICORN_ENABLE(vulkan12, scalarBlockLayout);
  UNICORN_ENABLE(vulkan12, shaderSubgroupExtendedTypes);
  UNICORN_ENABLE(vulkan12, vulkanMemoryModel);
  UNICORN_ENABLE(vulkan12, vulkanMemoryModelDeviceScope);
  UNICORN_ENABLE(vulkan13, subgroupSizeControl);
  UNICORN_ENABLE(vulkan13, computeFullSubgroups);
  UNICORN_ENABLE(vulkan13, shaderIntegerDotProduct);
  UNICORN_ENABLE(vulkan13, shaderZeroInitializeWorkgroupMemory);
  UNICORN_ENABLE(vulkan13, maintenance4);
  UNICORN_ENABLE(cooperativeMatrix, cooperativeMatrix);
  UNICORN_ENABLE(cooperativeMatrix2, cooperativeMatrixWorkgroupScope);
  UNICORN_ENABLE(cooperativeMatrix2, cooperativeMatrixFlexibleDimensions);
  UNICORN_ENABLE(cooperativeMatrix2, cooperativeMatrixReductions);
  UNICORN_ENABLE(cooperativeMatrix2, cooperativeMatrixConversions);
  UNICORN_ENABLE(cooperativeMatrix2, cooperativeMatrixPerElementOperations);
  UNICORN_ENABLE(cooperativeMatrix2, cooperativeMatrixTensorAddressing);
  UNICORN_ENABLE(cooperativeMatrix2, cooperativeMatrixBlockLoads);
#undef UNICORN_ENABLE
}

// Whether a cache is this driver's own: drivers are not always careful with those of others.
bool cacheFits(const std::vector<uint8_t>& cache, const VkPhysicalDeviceProperties& properties) {
  VkPipelineCacheHeaderVersionOne header{};
  if (cache.size() < sizeof header) return false;
  std::memcpy(&header, cache.data(), sizeof header);
  return header.headerSize == sizeof header && header.headerVersion == VK_PIPELINE_CACHE_HEADER_VERSION_ONE &&
         header.vendorID == properties.vendorID && header.deviceID == properties.deviceID &&
         std::memcmp(header.pipelineCacheUUID, properties.pipelineCacheUUID, VK_UUID_SIZE) == 0;
}

}  // namespace

std::shared_ptr<Device> Device::open(std::shared_ptr<const PhysicalDevice> physical,
                                     const std::vector<uint8_t>& pipelineCache, std::string id) {
  auto device = std::shared_ptr<Device>(new Device());
  device->physical_ = std::move(physical);
  device->id_ = std::move(id);
  device->stallTimeout_ = chooseStallTimeout(*device->physical_);
  const PhysicalDevice& facts = *device->physical_;
  if (!facts.missing.empty()) {
    std::string list;
    for (const std::string& each : facts.missing) list += (list.empty() ? "" : ", ") + each;
    throw Failure("device/unavailable", device->name() + " lacks " + list + ".", {}, {{"device", device->id()}})
        .withFix("Use another device, or a newer driver.");
  }
  const InstanceFunctions& instance = facts.instance->vk();
  Features has;
  has.extend(facts.extensions);
  instance.GetPhysicalDeviceFeatures2(facts.handle, &has.core);
  Features wanted;
  wanted.extend(facts.extensions);
  enable(wanted, has);

  std::vector<const char*> extensions;
  for (const char* name : {VK_EXT_MEMORY_BUDGET_EXTENSION_NAME, VK_EXT_EXTERNAL_MEMORY_HOST_EXTENSION_NAME,
                           VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME, VK_NV_COOPERATIVE_MATRIX_2_EXTENSION_NAME}) {
    if (facts.has(name)) extensions.push_back(name);
  }
  const float priorities[] = {1.0F, 0.5F};
  VkDeviceQueueCreateInfo queue{};
  queue.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO;
  queue.queueFamilyIndex = facts.queueFamily;
  // A second queue of the same family uploads weights while the first computes.
  queue.queueCount = facts.queueCount > 1 ? 2 : 1;
  queue.pQueuePriorities = priorities;
  VkDeviceCreateInfo info{};
  info.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO;
  info.pNext = &wanted.core;
  info.queueCreateInfoCount = 1;
  info.pQueueCreateInfos = &queue;
  info.enabledExtensionCount = static_cast<uint32_t>(extensions.size());
  info.ppEnabledExtensionNames = extensions.data();
  const VkResult created = instance.CreateDevice(facts.handle, &info, nullptr, &device->handle_);
  if (created != VK_SUCCESS) {
    device->handle_ = VK_NULL_HANDLE;
    throw Failure("device/unavailable", device->name() + " could not be opened: " + resultName(created) + ".", {},
                  {{"device", device->id()}})
        .withFix("Another process may have it for itself; `vulkaninfo --summary` should say more.");
  }
  const auto resolve = [&](const char* name) { return instance.GetDeviceProcAddr(device->handle_, name); };
#define UNICORN_RESOLVE(name)                                             \
  device->vk_.name = reinterpret_cast<PFN_vk##name>(resolve("vk" #name)); \
  if (device->vk_.name == nullptr)                                        \
    throw Failure("device/driver", "The driver lacks vk" #name ".", {}, {{"device", device->id()}});
  UNICORN_DEVICE_FUNCTIONS(UNICORN_RESOLVE)
#undef UNICORN_RESOLVE
#define UNICORN_RESOLVE(name) device->vk_.name = reinterpret_cast<PFN_vk##name>(resolve("vk" #name));
  UNICORN_OPTIONAL_DEVICE_FUNCTIONS(UNICORN_RESOLVE)
#undef UNICORN_RESOLVE
  const DeviceFunctions& vk = device->vk_;
  vk.GetDeviceQueue(device->handle_, facts.queueFamily, 0, &device->queues_[0]);
  vk.GetDeviceQueue(device->handle_, facts.queueFamily, queue.queueCount - 1, &device->queues_[1]);

  VkPushConstantRange pushConstants{VK_SHADER_STAGE_COMPUTE_BIT, 0, pushConstantBytes};
  VkPipelineLayoutCreateInfo layout{};
  layout.sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO;
  layout.pushConstantRangeCount = 1;
  layout.pPushConstantRanges = &pushConstants;
  device->check(vk.CreatePipelineLayout(device->handle_, &layout, nullptr, &device->pipelineLayout_),
                "vkCreatePipelineLayout");
  VkPipelineCacheCreateInfo cache{};
  cache.sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO;
  if (cacheFits(pipelineCache, facts.properties)) {
    cache.initialDataSize = pipelineCache.size();
    cache.pInitialData = pipelineCache.data();
  }
  device->check(vk.CreatePipelineCache(device->handle_, &cache, nullptr, &device->pipelineCache_),
                "vkCreatePipelineCache");
  VkCommandPoolCreateInfo pool{};
  pool.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO;
  pool.queueFamilyIndex = facts.queueFamily;
  device->check(vk.CreateCommandPool(device->handle_, &pool, nullptr, &device->recordingPool), "vkCreateCommandPool");
  device->memory_ = std::make_unique<Memory>(*device);
  return device;
}

Device::~Device() {
  if (handle_ == VK_NULL_HANDLE || vk_.DestroyDevice == nullptr) return;
  if (abandoned_.load()) {
    memory_.release();
    // The instance must outlive it.
    new std::shared_ptr<const PhysicalDevice>(physical_);
    return;
  }
  if (vk_.DeviceWaitIdle != nullptr) vk_.DeviceWaitIdle(handle_);
  memory_.reset();
  if (recordingPool != VK_NULL_HANDLE) vk_.DestroyCommandPool(handle_, recordingPool, nullptr);
  if (pipelineCache_ != VK_NULL_HANDLE) vk_.DestroyPipelineCache(handle_, pipelineCache_, nullptr);
  if (pipelineLayout_ != VK_NULL_HANDLE) vk_.DestroyPipelineLayout(handle_, pipelineLayout_, nullptr);
  vk_.DestroyDevice(handle_, nullptr);
}

std::vector<uint8_t> Device::pipelineCache() const {
  std::vector<uint8_t> bytes;
  // It may grow between the two calls, while pipelines are made elsewhere.
  for (int attempt = 0; attempt < 4; attempt++) {
    size_t size = 0;
    if (vk_.GetPipelineCacheData(handle_, pipelineCache_, &size, nullptr) != VK_SUCCESS) return {};
    bytes.resize(size);
    const VkResult result = vk_.GetPipelineCacheData(handle_, pipelineCache_, &size, bytes.data());
    bytes.resize(size);
    if (result == VK_SUCCESS) return bytes;
    if (result != VK_INCOMPLETE) return {};
  }
  return {};
}

void Device::submit(const VkSubmitInfo& info, bool upload) {
  const size_t at = upload && queues_[1] != queues_[0] ? 1 : 0;
  std::lock_guard<std::mutex> lock(queueMutexes_[at]);
  if (isLost()) throw lostFailure();
  check(vk_.QueueSubmit(queues_[at], 1, &info, VK_NULL_HANDLE), "vkQueueSubmit");
}

Failure Device::lost(const std::string& where) {
  {
    std::lock_guard<std::mutex> lock(lostMutex_);
    if (!lost_.load()) lostWhere_ = where;
  }
  lost_.store(true);
  return lostFailure();
}

Failure Device::lostFailure() const {
  std::lock_guard<std::mutex> lock(lostMutex_);
  return Failure("device/lost", name() + " was lost: it stopped, was reset, or no longer answers.", {},
                 {{"device", id()}, {"where", lostWhere_}})
      .withFix(
          "Open the device again; `dmesg` may say why it stopped. When it happens again, use a smaller batch or "
          "another backend.");
}

void Device::check(VkResult result, const char* where) {
  if (result == VK_SUCCESS) return;
  if (result == VK_ERROR_DEVICE_LOST) throw lost(where);
  if (result == VK_ERROR_OUT_OF_HOST_MEMORY || result == VK_ERROR_OUT_OF_DEVICE_MEMORY) {
    throw Failure("resource/memory", "The driver of " + name() + " ran out of memory.", {}, {{"where", where}})
        .withFix("Ask for a smaller context or a smaller model, or end other programs that use the device.");
  }
  throw Failure("device/driver", "The driver of " + name() + " failed in " + where + ": " + resultName(result) + ".",
                {}, {{"device", id()}, {"where", where}, {"driver", physical_->driver}})
      .withFix("Use a newer driver, or another backend.");
}

Timeline::Timeline(std::shared_ptr<Device> device) : device_(std::move(device)) {
  VkSemaphoreTypeCreateInfo type{};
  type.sType = VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO;
  type.semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE;
  VkSemaphoreCreateInfo info{};
  info.sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO;
  info.pNext = &type;
  device_->check(device_->vk().CreateSemaphore(device_->handle(), &info, nullptr, &handle_), "vkCreateSemaphore");
}

Timeline::~Timeline() {
  if (!device_->isAbandoned()) device_->vk().DestroySemaphore(device_->handle(), handle_, nullptr);
}

uint64_t Timeline::value() const {
  uint64_t value = 0;
  device_->check(device_->vk().GetSemaphoreCounterValue(device_->handle(), handle_, &value),
                 "vkGetSemaphoreCounterValue");
  return value;
}

bool Timeline::wait(uint64_t value, uint64_t timeoutNs) const {
  VkSemaphoreWaitInfo info{};
  info.sType = VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO;
  info.semaphoreCount = 1;
  info.pSemaphores = &handle_;
  info.pValues = &value;
  const VkResult result = device_->vk().WaitSemaphores(device_->handle(), &info, timeoutNs);
  if (result == VK_TIMEOUT) return false;
  device_->check(result, "vkWaitSemaphores");
  return true;
}

bool Timeline::await(uint64_t value, bool spin) const {
  try {
    const auto begin = Clock::now();
    uint64_t seen = 0;
    if (spin && !device_->physical().software()) {
      do {
        if ((seen = this->value()) >= value) return true;
      } while (Clock::now() - begin < spinTime);
    }
    auto progress = Clock::now();
    for (;;) {
      if (device_->isLost()) return false;
      if (wait(value, std::chrono::nanoseconds(waitSlice).count())) return true;
      const uint64_t now = this->value();
      if (now != seen) progress = Clock::now();
      seen = now;
      if (device_->stallTimeout().count() != 0 && Clock::now() - progress > device_->stallTimeout()) {
        device_->lost("time-out");
        device_->abandon();
        return false;
      }
    }
  } catch (const Failure&) {
    // Lost; or the driver fails in a way that leaves nothing to wait for.
    if (!device_->isLost()) device_->lost("wait");
    return false;
  }
}

CommandPool::CommandPool(std::shared_ptr<Device> device) : device_(std::move(device)) {
  VkCommandPoolCreateInfo info{};
  info.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO;
  info.flags = VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT | VK_COMMAND_POOL_CREATE_TRANSIENT_BIT;
  info.queueFamilyIndex = device_->physical().queueFamily;
  device_->check(device_->vk().CreateCommandPool(device_->handle(), &info, nullptr, &handle_), "vkCreateCommandPool");
}

CommandPool::~CommandPool() {
  if (!device_->isAbandoned()) device_->vk().DestroyCommandPool(device_->handle(), handle_, nullptr);
}

VkCommandBuffer CommandPool::begin() {
  VkCommandBufferAllocateInfo info{};
  info.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO;
  info.commandPool = handle_;
  info.level = VK_COMMAND_BUFFER_LEVEL_PRIMARY;
  info.commandBufferCount = 1;
  VkCommandBuffer commands = VK_NULL_HANDLE;
  device_->check(device_->vk().AllocateCommandBuffers(device_->handle(), &info, &commands), "vkAllocateCommandBuffers");
  beginAgain(commands);
  return commands;
}

void CommandPool::beginAgain(VkCommandBuffer commands) {
  VkCommandBufferBeginInfo info{};
  info.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO;
  info.flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT;
  device_->check(device_->vk().BeginCommandBuffer(commands, &info), "vkBeginCommandBuffer");
}

void CommandPool::end(VkCommandBuffer commands) {
  device_->check(device_->vk().EndCommandBuffer(commands), "vkEndCommandBuffer");
}

}  // namespace unicorn
