// A Vulkan driver that computes nothing, for the tests: it lists as many devices as MOCK_VULKAN_DEVICES says, of Vulkan 1.1,
// which is older than what the backend wants. The loader finds it by VK_DRIVER_FILES.
//
//     c++ -shared -fPIC -I native/vendor/vulkan-headers native/test/mock-driver.cpp -o mock-driver.so

#define VK_NO_PROTOTYPES
#include <vulkan/vulkan.h>
#include <vulkan/vk_icd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

constexpr uint32_t version = VK_API_VERSION_1_1;
constexpr uint32_t maximumDevices = 8;

// The loader puts its own pointer first into everything that calls are dispatched by.
struct Dispatchable {
  VK_LOADER_DATA loader;
};

struct MockInstance : Dispatchable {
  Dispatchable devices[maximumDevices];
};

uint32_t deviceCount() {
  const char* text = std::getenv("MOCK_VULKAN_DEVICES");
  const int count = text == nullptr ? 1 : std::atoi(text);
  return count < 0 ? 0 : count > static_cast<int>(maximumDevices) ? maximumDevices : static_cast<uint32_t>(count);
}

VKAPI_ATTR VkResult VKAPI_CALL enumerateInstanceVersion(uint32_t* result) {
  *result = version;
  return VK_SUCCESS;
}

VKAPI_ATTR VkResult VKAPI_CALL enumerateInstanceExtensionProperties(const char*, uint32_t* count,
                                                                    VkExtensionProperties*) {
  *count = 0;
  return VK_SUCCESS;
}

VKAPI_ATTR VkResult VKAPI_CALL createInstance(const VkInstanceCreateInfo*, const VkAllocationCallbacks*,
                                              VkInstance* result) {
  auto* instance = new MockInstance();
  set_loader_magic_value(instance);
  for (Dispatchable& device : instance->devices) set_loader_magic_value(&device);
  *result = reinterpret_cast<VkInstance>(instance);
  return VK_SUCCESS;
}

VKAPI_ATTR void VKAPI_CALL destroyInstance(VkInstance instance, const VkAllocationCallbacks*) {
  delete reinterpret_cast<MockInstance*>(instance);
}

VKAPI_ATTR VkResult VKAPI_CALL enumeratePhysicalDevices(VkInstance instance, uint32_t* count,
                                                        VkPhysicalDevice* devices) {
  const uint32_t all = deviceCount();
  if (devices == nullptr) {
    *count = all;
    return VK_SUCCESS;
  }
  const uint32_t given = *count < all ? *count : all;
  auto* mock = reinterpret_cast<MockInstance*>(instance);
  for (uint32_t i = 0; i < given; i++) devices[i] = reinterpret_cast<VkPhysicalDevice>(&mock->devices[i]);
  *count = given;
  return given < all ? VK_INCOMPLETE : VK_SUCCESS;
}

VKAPI_ATTR void VKAPI_CALL getPhysicalDeviceProperties(VkPhysicalDevice, VkPhysicalDeviceProperties* properties) {
  *properties = {};
  properties->apiVersion = version;
  properties->deviceType = VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU;
  std::snprintf(properties->deviceName, sizeof properties->deviceName, "Mock GPU");
}

VKAPI_ATTR void VKAPI_CALL getPhysicalDeviceProperties2(VkPhysicalDevice device,
                                                        VkPhysicalDeviceProperties2* properties) {
  getPhysicalDeviceProperties(device, &properties->properties);
}

VKAPI_ATTR void VKAPI_CALL getPhysicalDeviceFeatures(VkPhysicalDevice, VkPhysicalDeviceFeatures* features) {
  *features = {};
}

VKAPI_ATTR void VKAPI_CALL getPhysicalDeviceFeatures2(VkPhysicalDevice, VkPhysicalDeviceFeatures2* features) {
  features->features = {};
}

VKAPI_ATTR void VKAPI_CALL getPhysicalDeviceMemoryProperties(VkPhysicalDevice,
                                                             VkPhysicalDeviceMemoryProperties* memory) {
  *memory = {};
  memory->memoryHeapCount = 1;
  memory->memoryHeaps[0] = {VkDeviceSize{1} << 30, VK_MEMORY_HEAP_DEVICE_LOCAL_BIT};
  memory->memoryTypeCount = 1;
  memory->memoryTypes[0] = {VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT, 0};
}

VKAPI_ATTR void VKAPI_CALL getPhysicalDeviceMemoryProperties2(VkPhysicalDevice device,
                                                              VkPhysicalDeviceMemoryProperties2* memory) {
  getPhysicalDeviceMemoryProperties(device, &memory->memoryProperties);
}

// The driver has no images, but the loader takes no driver without these three functions.
VKAPI_ATTR void VKAPI_CALL getPhysicalDeviceFormatProperties(VkPhysicalDevice, VkFormat,
                                                             VkFormatProperties* properties) {
  *properties = {};
}

VKAPI_ATTR VkResult VKAPI_CALL getPhysicalDeviceImageFormatProperties(VkPhysicalDevice, VkFormat, VkImageType,
                                                                      VkImageTiling, VkImageUsageFlags,
                                                                      VkImageCreateFlags, VkImageFormatProperties*) {
  return VK_ERROR_FORMAT_NOT_SUPPORTED;
}

VKAPI_ATTR void VKAPI_CALL getPhysicalDeviceSparseImageFormatProperties(VkPhysicalDevice, VkFormat, VkImageType,
                                                                        VkSampleCountFlagBits, VkImageUsageFlags,
                                                                        VkImageTiling, uint32_t* count,
                                                                        VkSparseImageFormatProperties*) {
  *count = 0;
}

VKAPI_ATTR void VKAPI_CALL getPhysicalDeviceQueueFamilyProperties(VkPhysicalDevice, uint32_t* count,
                                                                  VkQueueFamilyProperties*) {
  *count = 0;
}

VKAPI_ATTR VkResult VKAPI_CALL enumerateDeviceExtensionProperties(VkPhysicalDevice, const char*, uint32_t* count,
                                                                  VkExtensionProperties*) {
  *count = 0;
  return VK_SUCCESS;
}

VKAPI_ATTR VkResult VKAPI_CALL createDevice(VkPhysicalDevice, const VkDeviceCreateInfo*, const VkAllocationCallbacks*,
                                            VkDevice*) {
  return VK_ERROR_INITIALIZATION_FAILED;
}

VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL getDeviceProcAddr(VkDevice, const char*) { return nullptr; }

PFN_vkVoidFunction find(const char* name) {
  const struct {
    const char* name;
    PFN_vkVoidFunction function;
  } functions[] = {
#define UNICORN_ENTRY(name, function) {name, reinterpret_cast<PFN_vkVoidFunction>(function)}
      UNICORN_ENTRY("vkEnumerateInstanceVersion", enumerateInstanceVersion),
      UNICORN_ENTRY("vkEnumerateInstanceExtensionProperties", enumerateInstanceExtensionProperties),
      UNICORN_ENTRY("vkCreateInstance", createInstance),
      UNICORN_ENTRY("vkDestroyInstance", destroyInstance),
      UNICORN_ENTRY("vkEnumeratePhysicalDevices", enumeratePhysicalDevices),
      UNICORN_ENTRY("vkGetPhysicalDeviceProperties", getPhysicalDeviceProperties),
      UNICORN_ENTRY("vkGetPhysicalDeviceProperties2", getPhysicalDeviceProperties2),
      UNICORN_ENTRY("vkGetPhysicalDeviceFeatures", getPhysicalDeviceFeatures),
      UNICORN_ENTRY("vkGetPhysicalDeviceMemoryProperties", getPhysicalDeviceMemoryProperties),
      UNICORN_ENTRY("vkGetPhysicalDeviceFormatProperties", getPhysicalDeviceFormatProperties),
      UNICORN_ENTRY("vkGetPhysicalDeviceImageFormatProperties", getPhysicalDeviceImageFormatProperties),
      UNICORN_ENTRY("vkGetPhysicalDeviceSparseImageFormatProperties", getPhysicalDeviceSparseImageFormatProperties),
      UNICORN_ENTRY("vkGetPhysicalDeviceFeatures2", getPhysicalDeviceFeatures2),
      UNICORN_ENTRY("vkGetPhysicalDeviceMemoryProperties2", getPhysicalDeviceMemoryProperties2),
      UNICORN_ENTRY("vkGetPhysicalDeviceQueueFamilyProperties", getPhysicalDeviceQueueFamilyProperties),
      UNICORN_ENTRY("vkEnumerateDeviceExtensionProperties", enumerateDeviceExtensionProperties),
      UNICORN_ENTRY("vkCreateDevice", createDevice),
      UNICORN_ENTRY("vkGetDeviceProcAddr", getDeviceProcAddr),
#undef UNICORN_ENTRY
  };
  for (const auto& entry : functions) {
    if (std::strcmp(entry.name, name) == 0) return entry.function;
  }
  return nullptr;
}

}  // namespace

extern "C" {

VKAPI_ATTR VkResult VKAPI_CALL vk_icdNegotiateLoaderICDInterfaceVersion(uint32_t* interfaceVersion) {
  if (*interfaceVersion > 5) *interfaceVersion = 5;
  return VK_SUCCESS;
}

VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL vk_icdGetInstanceProcAddr(VkInstance, const char* name) { return find(name); }

VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL vk_icdGetPhysicalDeviceProcAddr(VkInstance, const char* name) {
  return std::strstr(name, "vkGetPhysicalDevice") == name ? find(name) : nullptr;
}
}
