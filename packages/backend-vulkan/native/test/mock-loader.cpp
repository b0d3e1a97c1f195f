// Stands between the addon and the machine's Vulkan loader, for the tests: shows a device as something else, or lets it
// fail. UNICORN_VULKAN_LOADER names it. What it does stands in MOCK_VULKAN, words with commas between:
//
//   discrete   the device is a discrete GPU: its memory cannot be mapped but for a small part, the host's is beside it
//   integrated the device is a GPU in the processor
//   lost=N     the Nth submission and all later ones end with VK_ERROR_DEVICE_LOST
//   stall=N    the Nth submission and all later ones are never carried out
//   memory=N   the Nth allocation and all later ones fail
//   incoherent cached memory is not coherent: what is mapped is a copy, which only flushing and invalidating bring up to date
//
//     c++ -shared -fPIC -I native/vendor/vulkan-headers native/test/mock-loader.cpp -o mock-loader.so -ldl

#define VK_NO_PROTOTYPES
#include <dlfcn.h>
#include <vulkan/vulkan.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <string>
#include <vector>

namespace {

PFN_vkGetInstanceProcAddr realGetInstanceProcAddr;
PFN_vkGetDeviceProcAddr realGetDeviceProcAddr;
PFN_vkGetPhysicalDeviceProperties realGetPhysicalDeviceProperties;
PFN_vkGetPhysicalDeviceProperties2 realGetPhysicalDeviceProperties2;
PFN_vkGetPhysicalDeviceMemoryProperties2 realGetPhysicalDeviceMemoryProperties2;
PFN_vkQueueSubmit realQueueSubmit;
PFN_vkQueueWaitIdle realQueueWaitIdle;
PFN_vkAllocateMemory realAllocateMemory;
PFN_vkGetBufferMemoryRequirements realGetBufferMemoryRequirements;
PFN_vkMapMemory realMapMemory;
PFN_vkFreeMemory realFreeMemory;
PFN_vkGetMemoryHostPointerPropertiesEXT realGetMemoryHostPointerProperties;

// Memory that is not coherent: what the device has, and what the host sees of it.
struct Mapped {
  uint64_t byteLength = 0;
  uint8_t* device = nullptr;
  std::vector<uint8_t> host;
};
std::mutex mappedMutex;
std::map<VkDeviceMemory, Mapped> incoherent;

std::atomic<int> submissions{0};
std::atomic<int> allocations{0};

// The number behind `word=`, 1 for the word alone, 0 where it is absent.
int option(const char* word) {
  const char* all = std::getenv("MOCK_VULKAN");
  const char* found = all == nullptr ? nullptr : std::strstr(all, word);
  if (found == nullptr) return 0;
  const char* end = found + std::strlen(word);
  return *end == '=' ? std::atoi(end + 1) : 1;
}

void setType(VkPhysicalDeviceProperties& properties) {
  if (option("discrete") != 0) properties.deviceType = VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU;
  if (option("integrated") != 0) properties.deviceType = VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU;
}

VKAPI_ATTR void VKAPI_CALL getPhysicalDeviceProperties(VkPhysicalDevice device,
                                                       VkPhysicalDeviceProperties* properties) {
  realGetPhysicalDeviceProperties(device, properties);
  setType(*properties);
}

VKAPI_ATTR void VKAPI_CALL getPhysicalDeviceProperties2(VkPhysicalDevice device,
                                                        VkPhysicalDeviceProperties2* properties) {
  realGetPhysicalDeviceProperties2(device, properties);
  setType(properties->properties);
}

// Three memory types over the one that there is.
VKAPI_ATTR void VKAPI_CALL getPhysicalDeviceMemoryProperties2(VkPhysicalDevice device,
                                                              VkPhysicalDeviceMemoryProperties2* memory) {
  realGetPhysicalDeviceMemoryProperties2(device, memory);
  if (option("incoherent") != 0) {
    VkPhysicalDeviceMemoryProperties& types = memory->memoryProperties;
    types.memoryTypeCount = 2;
    types.memoryTypes[0] = {VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT | VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT |
                                VK_MEMORY_PROPERTY_HOST_COHERENT_BIT,
                            0};
    types.memoryTypes[1] = {VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_CACHED_BIT, 0};
  }
  if (option("discrete") == 0) return;
  VkPhysicalDeviceMemoryProperties& properties = memory->memoryProperties;
  constexpr VkMemoryPropertyFlags local = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT;
  constexpr VkMemoryPropertyFlags writable = VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
  properties = {};
  properties.memoryHeapCount = 3;
  properties.memoryHeaps[0] = {VkDeviceSize{2} << 30, VK_MEMORY_HEAP_DEVICE_LOCAL_BIT};
  properties.memoryHeaps[1] = {VkDeviceSize{128} << 20, 0};
  properties.memoryHeaps[2] = {VkDeviceSize{256} << 20, VK_MEMORY_HEAP_DEVICE_LOCAL_BIT};
  properties.memoryTypeCount = 3;
  properties.memoryTypes[0] = {local, 0};
  properties.memoryTypes[1] = {writable | VK_MEMORY_PROPERTY_HOST_CACHED_BIT, 1};
  properties.memoryTypes[2] = {local | writable, 2};
}

VKAPI_ATTR void VKAPI_CALL getBufferMemoryRequirements(VkDevice device, VkBuffer buffer,
                                                       VkMemoryRequirements* requirements) {
  realGetBufferMemoryRequirements(device, buffer, requirements);
  if (option("discrete") != 0) requirements->memoryTypeBits = 7;
  if (option("incoherent") != 0) requirements->memoryTypeBits = 3;
}

VKAPI_ATTR VkResult VKAPI_CALL allocateMemory(VkDevice device, const VkMemoryAllocateInfo* info,
                                              const VkAllocationCallbacks* callbacks, VkDeviceMemory* memory) {
  const int failing = option("memory");
  if (failing != 0 && ++allocations >= failing) return VK_ERROR_OUT_OF_DEVICE_MEMORY;
  VkMemoryAllocateInfo real = *info;
  if (option("discrete") != 0) real.memoryTypeIndex = 0;
  const bool isIncoherent = option("incoherent") != 0 && info->memoryTypeIndex == 1;
  if (isIncoherent) real.memoryTypeIndex = 0;
  const VkResult result = realAllocateMemory(device, &real, callbacks, memory);
  if (result == VK_SUCCESS && isIncoherent) {
    std::lock_guard<std::mutex> lock(mappedMutex);
    incoherent[*memory].byteLength = info->allocationSize;
  }
  return result;
}

VKAPI_ATTR void VKAPI_CALL freeMemory(VkDevice device, VkDeviceMemory memory, const VkAllocationCallbacks* callbacks) {
  {
    std::lock_guard<std::mutex> lock(mappedMutex);
    incoherent.erase(memory);
  }
  realFreeMemory(device, memory, callbacks);
}

VKAPI_ATTR VkResult VKAPI_CALL mapMemory(VkDevice device, VkDeviceMemory memory, VkDeviceSize offset, VkDeviceSize size,
                                         VkMemoryMapFlags flags, void** data) {
  const VkResult result = realMapMemory(device, memory, offset, size, flags, data);
  std::lock_guard<std::mutex> lock(mappedMutex);
  const auto found = incoherent.find(memory);
  if (result != VK_SUCCESS || found == incoherent.end()) return result;
  Mapped& mapped = found->second;
  mapped.device = static_cast<uint8_t*>(*data);
  mapped.host.assign(mapped.byteLength, 0xee);
  *data = mapped.host.data();
  return result;
}

VkResult synchronize(uint32_t count, const VkMappedMemoryRange* ranges, bool toHost) {
  std::lock_guard<std::mutex> lock(mappedMutex);
  for (uint32_t i = 0; i < count; i++) {
    Mapped& mapped = incoherent.at(ranges[i].memory);
    const uint64_t size = ranges[i].size == VK_WHOLE_SIZE ? mapped.byteLength - ranges[i].offset : ranges[i].size;
    uint8_t* device = mapped.device + ranges[i].offset;
    uint8_t* host = mapped.host.data() + ranges[i].offset;
    std::memcpy(toHost ? host : device, toHost ? device : host, size);
  }
  return VK_SUCCESS;
}

VKAPI_ATTR VkResult VKAPI_CALL flushMappedMemoryRanges(VkDevice, uint32_t count, const VkMappedMemoryRange* ranges) {
  return synchronize(count, ranges, false);
}

VKAPI_ATTR VkResult VKAPI_CALL invalidateMappedMemoryRanges(VkDevice, uint32_t count,
                                                            const VkMappedMemoryRange* ranges) {
  return synchronize(count, ranges, true);
}

VKAPI_ATTR VkResult VKAPI_CALL getMemoryHostPointerProperties(VkDevice device, VkExternalMemoryHandleTypeFlagBits type,
                                                              const void* pointer,
                                                              VkMemoryHostPointerPropertiesEXT* properties) {
  const VkResult result = realGetMemoryHostPointerProperties(device, type, pointer, properties);
  if (option("incoherent") != 0) properties->memoryTypeBits = 1;
  return result;
}

VKAPI_ATTR VkResult VKAPI_CALL queueSubmit(VkQueue queue, uint32_t count, const VkSubmitInfo* infos, VkFence fence) {
  const int number = ++submissions;
  const int lost = option("lost");
  const int stall = option("stall");
  if (lost != 0 && number >= lost) {
    // What is lost computes no more, and its memory may be freed.
    realQueueWaitIdle(queue);
    return VK_ERROR_DEVICE_LOST;
  }
  if (stall != 0 && number >= stall) return VK_SUCCESS;
  return realQueueSubmit(queue, count, infos, fence);
}

template <typename Function>
PFN_vkVoidFunction replace(PFN_vkVoidFunction real, Function& keep, Function replacement) {
  keep = reinterpret_cast<Function>(real);
  return reinterpret_cast<PFN_vkVoidFunction>(replacement);
}

VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL getDeviceProcAddr(VkDevice device, const char* name) {
  const PFN_vkVoidFunction real = realGetDeviceProcAddr(device, name);
  if (real == nullptr) return nullptr;
  const std::string wanted = name;
  if (wanted == "vkQueueSubmit") {
    realQueueWaitIdle = reinterpret_cast<PFN_vkQueueWaitIdle>(realGetDeviceProcAddr(device, "vkQueueWaitIdle"));
    return replace(real, realQueueSubmit, queueSubmit);
  }
  if (wanted == "vkAllocateMemory") return replace(real, realAllocateMemory, allocateMemory);
  if (option("incoherent") != 0) {
    if (wanted == "vkMapMemory") return replace(real, realMapMemory, mapMemory);
    if (wanted == "vkFreeMemory") return replace(real, realFreeMemory, freeMemory);
    if (wanted == "vkFlushMappedMemoryRanges") return reinterpret_cast<PFN_vkVoidFunction>(flushMappedMemoryRanges);
    if (wanted == "vkInvalidateMappedMemoryRanges") {
      return reinterpret_cast<PFN_vkVoidFunction>(invalidateMappedMemoryRanges);
    }
    if (wanted == "vkGetMemoryHostPointerPropertiesEXT") {
      return replace(real, realGetMemoryHostPointerProperties, getMemoryHostPointerProperties);
    }
  }
  if (wanted == "vkGetBufferMemoryRequirements") {
    return replace(real, realGetBufferMemoryRequirements, getBufferMemoryRequirements);
  }
  return real;
}

}  // namespace

extern "C" VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL vkGetInstanceProcAddr(VkInstance instance, const char* name) {
  if (realGetInstanceProcAddr == nullptr) {
    void* library = dlopen("libvulkan.so.1", RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) return nullptr;
    realGetInstanceProcAddr = reinterpret_cast<PFN_vkGetInstanceProcAddr>(dlsym(library, "vkGetInstanceProcAddr"));
  }
  const PFN_vkVoidFunction real = realGetInstanceProcAddr(instance, name);
  if (real == nullptr) return nullptr;
  const std::string wanted = name;
  if (wanted == "vkGetDeviceProcAddr") return replace(real, realGetDeviceProcAddr, getDeviceProcAddr);
  if (wanted == "vkGetPhysicalDeviceProperties") {
    return replace(real, realGetPhysicalDeviceProperties, getPhysicalDeviceProperties);
  }
  if (wanted == "vkGetPhysicalDeviceProperties2") {
    return replace(real, realGetPhysicalDeviceProperties2, getPhysicalDeviceProperties2);
  }
  if (wanted == "vkGetPhysicalDeviceMemoryProperties2") {
    return replace(real, realGetPhysicalDeviceMemoryProperties2, getPhysicalDeviceMemoryProperties2);
  }
  return real;
}
