// The functions of Vulkan that the addon calls, as tables: nothing is linked, each pointer is asked of the loader, of an
// instance or of a device, so that a call goes straight to the driver.
#pragma once

#include <vulkan/vulkan.h>

// Of an instance. All are of Vulkan 1.1, which any loader of the last years has.
#define UNICORN_INSTANCE_FUNCTIONS(X)       \
  X(DestroyInstance)                        \
  X(EnumeratePhysicalDevices)               \
  X(EnumerateDeviceExtensionProperties)     \
  X(GetPhysicalDeviceProperties)            \
  X(GetPhysicalDeviceProperties2)           \
  X(GetPhysicalDeviceFeatures2)             \
  X(GetPhysicalDeviceMemoryProperties2)     \
  X(GetPhysicalDeviceQueueFamilyProperties) \
  X(CreateDevice)                           \
  X(GetDeviceProcAddr)

// Of an instance, null where its extension is absent.
#define UNICORN_OPTIONAL_INSTANCE_FUNCTIONS(X) \
  X(CreateDebugUtilsMessengerEXT)              \
  X(DestroyDebugUtilsMessengerEXT)             \
  X(GetPhysicalDeviceCooperativeMatrixPropertiesKHR)

// Of a device of Vulkan 1.3.
#define UNICORN_DEVICE_FUNCTIONS(X) \
  X(DestroyDevice)                  \
  X(DeviceWaitIdle)                 \
  X(GetDeviceQueue)                 \
  X(QueueSubmit)                    \
  X(AllocateMemory)                 \
  X(FreeMemory)                     \
  X(MapMemory)                      \
  X(CreateBuffer)                   \
  X(DestroyBuffer)                  \
  X(GetBufferMemoryRequirements)    \
  X(BindBufferMemory)               \
  X(GetBufferDeviceAddress)         \
  X(CreateShaderModule)             \
  X(DestroyShaderModule)            \
  X(CreatePipelineLayout)           \
  X(DestroyPipelineLayout)          \
  X(CreatePipelineCache)            \
  X(DestroyPipelineCache)           \
  X(GetPipelineCacheData)           \
  X(CreateComputePipelines)         \
  X(DestroyPipeline)                \
  X(CreateCommandPool)              \
  X(DestroyCommandPool)             \
  X(AllocateCommandBuffers)         \
  X(FreeCommandBuffers)             \
  X(BeginCommandBuffer)             \
  X(EndCommandBuffer)               \
  X(CmdBindPipeline)                \
  X(CmdPushConstants)               \
  X(CmdDispatch)                    \
  X(CmdPipelineBarrier)             \
  X(FlushMappedMemoryRanges)        \
  X(InvalidateMappedMemoryRanges)   \
  X(CmdCopyBuffer)                  \
  X(CmdFillBuffer)                  \
  X(CmdResetQueryPool)              \
  X(CmdWriteTimestamp)              \
  X(CreateQueryPool)                \
  X(DestroyQueryPool)               \
  X(GetQueryPoolResults)            \
  X(CreateSemaphore)                \
  X(DestroySemaphore)               \
  X(GetSemaphoreCounterValue)       \
  X(WaitSemaphores)

// Of a device, null where its extension is absent.
#define UNICORN_OPTIONAL_DEVICE_FUNCTIONS(X) X(GetMemoryHostPointerPropertiesEXT)

namespace unicorn {

#define UNICORN_POINTER(name) PFN_vk##name name = nullptr;

struct InstanceFunctions {
  UNICORN_INSTANCE_FUNCTIONS(UNICORN_POINTER)
  UNICORN_OPTIONAL_INSTANCE_FUNCTIONS(UNICORN_POINTER)
};

struct DeviceFunctions {
  UNICORN_DEVICE_FUNCTIONS(UNICORN_POINTER)
  UNICORN_OPTIONAL_DEVICE_FUNCTIONS(UNICORN_POINTER)
};

#undef UNICORN_POINTER

}  // namespace unicorn
