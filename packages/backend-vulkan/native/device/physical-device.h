// The properties of a GPU (or of a driver that computes on the CPU), which are asked for once, without opening it.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "instance.h"

namespace unicorn {

// The features that a device is opened with, chained to each other. Not to be moved: they point at one another.
struct Features {
  Features();
  Features(const Features&) = delete;
  Features& operator=(const Features&) = delete;
  // Appends the structs of extensions that the device has.
  void extend(const std::vector<std::string>& extensions);

  VkPhysicalDeviceFeatures2 core{};
  VkPhysicalDeviceVulkan11Features vulkan11{};
  VkPhysicalDeviceVulkan12Features vulkan12{};
  VkPhysicalDeviceVulkan13Features vulkan13{};
  VkPhysicalDeviceCooperativeMatrixFeaturesKHR cooperativeMatrix{};
  VkPhysicalDeviceCooperativeMatrix2FeaturesNV cooperativeMatrix2{};
};

struct MatrixShape {
  uint32_t m, n, k;
  uint32_t a, result, scope;  // VkComponentTypeKHR, VkScopeKHR
};

struct PhysicalDevice {
  // Never throws: features that the device lacks stand in `missing`.
  static std::shared_ptr<const PhysicalDevice> examine(std::shared_ptr<Instance> instance, uint32_t index,
                                                       VkPhysicalDevice handle);

  bool has(const char* extension) const;
  bool software() const { return properties.deviceType == VK_PHYSICAL_DEVICE_TYPE_CPU; }
  // The device computes in the host's memory.
  bool unified() const { return software() || properties.deviceType == VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU; }

  std::shared_ptr<Instance> instance;
  uint32_t index = 0;
  VkPhysicalDevice handle = VK_NULL_HANDLE;
  VkPhysicalDeviceProperties properties{};
  std::array<uint8_t, VK_UUID_SIZE> uuid{};
  std::string driver;
  std::vector<std::string> missing;
  std::vector<std::string> extensions;
  uint32_t subgroupSize = 0, minSubgroupSize = 0, maxSubgroupSize = 0;
  bool requiredSubgroupSize = false;  // compute shaders may ask for one
  uint64_t maxAllocationBytes = 0;
  uint64_t hostImportAlignment = 0;  // of memory of the host's that the device may use where it lies; 0: none may be
  uint32_t computeUnits = 0;         // 0 where nothing tells
  bool float16 = false, integerDot = false, memoryBudget = false;
  std::vector<MatrixShape> matrixShapes;
  VkPhysicalDeviceMemoryProperties memory{};
  uint32_t queueFamily = 0;  // of compute, where there is one without graphics
  uint32_t queueCount = 0;
  uint32_t timestampBits = 0;
};

std::string versionText(uint32_t version);

}  // namespace unicorn
