#include "physical-device.h"

#include <algorithm>

namespace unicorn {
namespace {

// SPIR-V 1.6, in which the shaders are compiled, came with it.
constexpr uint32_t requiredVersion = VK_API_VERSION_1_3;

template <typename T>
void append(VkPhysicalDeviceFeatures2& chain, T& features) {
  features.pNext = chain.pNext;
  chain.pNext = &features;
}

std::vector<std::string> listExtensions(const InstanceFunctions& vk, VkPhysicalDevice handle) {
  uint32_t count = 0;
  if (vk.EnumerateDeviceExtensionProperties(handle, nullptr, &count, nullptr) != VK_SUCCESS) return {};
  std::vector<VkExtensionProperties> list(count);
  const VkResult result = vk.EnumerateDeviceExtensionProperties(handle, nullptr, &count, list.data());
  if (result != VK_SUCCESS && result != VK_INCOMPLETE) return {};
  std::vector<std::string> names;
  for (uint32_t i = 0; i < std::min<size_t>(count, list.size()); i++) names.emplace_back(list[i].extensionName);
  std::sort(names.begin(), names.end());
  return names;
}

// The family to compute on: one without graphics leaves the desktop its own; of several the one with most queues.
void chooseQueueFamily(const InstanceFunctions& vk, PhysicalDevice& device) {
  uint32_t count = 0;
  vk.GetPhysicalDeviceQueueFamilyProperties(device.handle, &count, nullptr);
  std::vector<VkQueueFamilyProperties> families(count);
  vk.GetPhysicalDeviceQueueFamilyProperties(device.handle, &count, families.data());
  uint32_t best = 0;
  for (uint32_t i = 0; i < std::min<size_t>(count, families.size()); i++) {
    const VkQueueFamilyProperties& family = families[i];
    if ((family.queueFlags & VK_QUEUE_COMPUTE_BIT) == 0 || family.queueCount == 0) continue;
    const uint32_t score =
        std::min(family.queueCount, 255u) + ((family.queueFlags & VK_QUEUE_GRAPHICS_BIT) == 0 ? 256u : 0u);
    if (score <= best) continue;
    best = score;
    device.queueFamily = i;
    device.queueCount = family.queueCount;
    device.timestampBits = family.timestampValidBits;
  }
  if (best == 0) device.missing.push_back("a queue that computes");
}

void examineMemory(const InstanceFunctions& vk, PhysicalDevice& device) {
  VkPhysicalDeviceMemoryProperties2 memory{};
  memory.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2;
  vk.GetPhysicalDeviceMemoryProperties2(device.handle, &memory);
  device.memory = memory.memoryProperties;
}

void examineFeatures(const InstanceFunctions& vk, PhysicalDevice& device) {
  Features features;
  features.extend(device.extensions);
  vk.GetPhysicalDeviceFeatures2(device.handle, &features.core);
  const auto need = [&](VkBool32 present, const char* name) {
    if (present != VK_TRUE) device.missing.emplace_back(name);
  };
  need(features.core.features.shaderInt16, "shaderInt16");
  need(features.core.features.shaderInt64, "shaderInt64");
  need(features.vulkan11.storageBuffer16BitAccess, "storageBuffer16BitAccess");
  need(features.vulkan12.storageBuffer8BitAccess, "storageBuffer8BitAccess");
  need(features.vulkan12.shaderInt8, "shaderInt8");
  need(features.vulkan12.shaderFloat16, "shaderFloat16");
  need(features.vulkan12.bufferDeviceAddress, "bufferDeviceAddress");
  need(features.vulkan12.timelineSemaphore, "timelineSemaphore");
  need(features.vulkan12.scalarBlockLayout, "scalarBlockLayout");
  need(features.vulkan12.vulkanMemoryModel, "vulkanMemoryModel");
  device.float16 = features.vulkan12.shaderFloat16 == VK_TRUE;
  device.requiredSubgroupSize = features.vulkan13.subgroupSizeControl == VK_TRUE;
  if (features.cooperativeMatrix.cooperativeMatrix != VK_TRUE) return;
  if (vk.GetPhysicalDeviceCooperativeMatrixPropertiesKHR == nullptr) return;
  uint32_t count = 0;
  vk.GetPhysicalDeviceCooperativeMatrixPropertiesKHR(device.handle, &count, nullptr);
  std::vector<VkCooperativeMatrixPropertiesKHR> shapes(count);
  for (auto& shape : shapes) shape.sType = VK_STRUCTURE_TYPE_COOPERATIVE_MATRIX_PROPERTIES_KHR;
  vk.GetPhysicalDeviceCooperativeMatrixPropertiesKHR(device.handle, &count, shapes.data());
  for (uint32_t i = 0; i < std::min<size_t>(count, shapes.size()); i++) {
    const auto& shape = shapes[i];
    // Those whose operands and whose accumulators are of one type each: what a MatrixShape can say.
    if (shape.AType != shape.BType || shape.CType != shape.ResultType || shape.saturatingAccumulation) continue;
    device.matrixShapes.push_back({shape.MSize, shape.NSize, shape.KSize, static_cast<uint32_t>(shape.AType),
                                   static_cast<uint32_t>(shape.ResultType), static_cast<uint32_t>(shape.scope)});
  }
}

void examineProperties(const InstanceFunctions& vk, PhysicalDevice& device) {
  VkPhysicalDeviceProperties2 all{};
  all.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2;
  const auto chain = [&](auto& properties, VkStructureType type) {
    properties.sType = type;
    properties.pNext = all.pNext;
    all.pNext = &properties;
  };
  VkPhysicalDeviceVulkan11Properties vulkan11{};
  VkPhysicalDeviceVulkan12Properties vulkan12{};
  VkPhysicalDeviceVulkan13Properties vulkan13{};
  VkPhysicalDeviceShaderSMBuiltinsPropertiesNV multiprocessors{};
  VkPhysicalDeviceShaderCorePropertiesAMD cores{};
  VkPhysicalDeviceShaderCoreBuiltinsPropertiesARM armCores{};
  VkPhysicalDeviceExternalMemoryHostPropertiesEXT hostMemory{};
  chain(vulkan11, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_PROPERTIES);
  chain(vulkan12, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_PROPERTIES);
  chain(vulkan13, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_3_PROPERTIES);
  if (device.has(VK_NV_SHADER_SM_BUILTINS_EXTENSION_NAME)) {
    chain(multiprocessors, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_SM_BUILTINS_PROPERTIES_NV);
  }
  if (device.has(VK_AMD_SHADER_CORE_PROPERTIES_EXTENSION_NAME)) {
    chain(cores, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_CORE_PROPERTIES_AMD);
  }
  if (device.has(VK_ARM_SHADER_CORE_BUILTINS_EXTENSION_NAME)) {
    chain(armCores, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_CORE_BUILTINS_PROPERTIES_ARM);
  }
  if (device.has(VK_EXT_EXTERNAL_MEMORY_HOST_EXTENSION_NAME)) {
    chain(hostMemory, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_EXTERNAL_MEMORY_HOST_PROPERTIES_EXT);
  }
  vk.GetPhysicalDeviceProperties2(device.handle, &all);
  device.hostImportAlignment = hostMemory.minImportedHostPointerAlignment;
  device.properties = all.properties;
  std::copy(std::begin(vulkan11.deviceUUID), std::end(vulkan11.deviceUUID), device.uuid.begin());
  device.driver = std::string(vulkan12.driverName) + (vulkan12.driverInfo[0] != '\0' ? " " : "") + vulkan12.driverInfo;
  device.subgroupSize = vulkan11.subgroupSize;
  device.minSubgroupSize = vulkan13.minSubgroupSize;
  device.maxSubgroupSize = vulkan13.maxSubgroupSize;
  device.requiredSubgroupSize =
      device.requiredSubgroupSize && (vulkan13.requiredSubgroupSizeStages & VK_SHADER_STAGE_COMPUTE_BIT) != 0;
  device.maxAllocationBytes = std::min<uint64_t>(vulkan11.maxMemoryAllocationSize, vulkan13.maxBufferSize);
  device.integerDot = vulkan13.integerDotProduct4x8BitPackedSignedAccelerated == VK_TRUE;
  device.computeUnits =
      multiprocessors.shaderSMCount != 0 ? multiprocessors.shaderSMCount
      : cores.computeUnitsPerShaderArray != 0
          ? cores.shaderEngineCount * cores.shaderArraysPerEngineCount * cores.computeUnitsPerShaderArray
          : armCores.shaderCoreCount;
  constexpr VkSubgroupFeatureFlags operations = VK_SUBGROUP_FEATURE_BASIC_BIT | VK_SUBGROUP_FEATURE_VOTE_BIT |
                                                VK_SUBGROUP_FEATURE_ARITHMETIC_BIT | VK_SUBGROUP_FEATURE_BALLOT_BIT |
                                                VK_SUBGROUP_FEATURE_SHUFFLE_BIT;
  if ((vulkan11.subgroupSupportedOperations & operations) != operations ||
      (vulkan11.subgroupSupportedStages & VK_SHADER_STAGE_COMPUTE_BIT) == 0) {
    device.missing.emplace_back("subgroup vote, arithmetic, ballot and shuffle in compute shaders");
  }
}

}  // namespace

Features::Features() {
  core.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2;
  vulkan11.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES;
  vulkan12.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES;
  vulkan13.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_3_FEATURES;
  cooperativeMatrix.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR;
  cooperativeMatrix2.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_2_FEATURES_NV;
  append(core, vulkan11);
  append(core, vulkan12);
  append(core, vulkan13);
}

void Features::extend(const std::vector<std::string>& extensions) {
  const auto has = [&](const char* name) {
    return std::binary_search(extensions.begin(), extensions.end(), std::string(name));
  };
  if (has(VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME)) append(core, cooperativeMatrix);
  if (has(VK_NV_COOPERATIVE_MATRIX_2_EXTENSION_NAME)) append(core, cooperativeMatrix2);
}

bool PhysicalDevice::has(const char* extension) const {
  return std::binary_search(extensions.begin(), extensions.end(), std::string(extension));
}

std::shared_ptr<const PhysicalDevice> PhysicalDevice::examine(std::shared_ptr<Instance> instance, uint32_t index,
                                                              VkPhysicalDevice handle) {
  auto device = std::make_shared<PhysicalDevice>();
  device->instance = std::move(instance);
  device->index = index;
  device->handle = handle;
  const InstanceFunctions& vk = device->instance->vk();
  vk.GetPhysicalDeviceProperties(handle, &device->properties);
  device->extensions = listExtensions(vk, handle);
  device->memoryBudget = device->has(VK_EXT_MEMORY_BUDGET_EXTENSION_NAME);
  if (device->properties.apiVersion >= VK_API_VERSION_1_1) examineMemory(vk, *device);
  if (device->properties.apiVersion < requiredVersion) {
    // Older drivers may not know the questions below.
    device->missing.push_back("Vulkan 1.3 (the driver has " + versionText(device->properties.apiVersion) + ")");
    return device;
  }
  examineFeatures(vk, *device);
  examineProperties(vk, *device);
  chooseQueueFamily(vk, *device);
  return device;
}

std::string versionText(uint32_t version) {
  return std::to_string(VK_API_VERSION_MAJOR(version)) + "." + std::to_string(VK_API_VERSION_MINOR(version)) + "." +
         std::to_string(VK_API_VERSION_PATCH(version));
}

}  // namespace unicorn
