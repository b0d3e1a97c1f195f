#include "instance.h"

#include <cstring>

namespace unicorn {
namespace {

constexpr const char* validationLayer = "VK_LAYER_KHRONOS_validation";

// The most messages that are kept, so that a layer which repeats itself does not fill the memory.
constexpr size_t maximumMessages = 1000;

VKAPI_ATTR VkBool32 VKAPI_CALL collect(VkDebugUtilsMessageSeverityFlagBitsEXT, VkDebugUtilsMessageTypeFlagsEXT,
                                       const VkDebugUtilsMessengerCallbackDataEXT* data, void* sink) {
  if (data->pMessage != nullptr) static_cast<MessageSink*>(sink)->add(data->pMessage);
  return VK_FALSE;
}

bool hasLayer(const Loader& loader, const char* name) {
  if (loader.enumerateInstanceLayerProperties == nullptr) return false;
  uint32_t count = 0;
  loader.enumerateInstanceLayerProperties(&count, nullptr);
  std::vector<VkLayerProperties> layers(count);
  loader.enumerateInstanceLayerProperties(&count, layers.data());
  for (uint32_t i = 0; i < count && i < layers.size(); i++) {
    if (std::strcmp(layers[i].layerName, name) == 0) return true;
  }
  return false;
}

}  // namespace

void MessageSink::add(std::string message) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (messages_.size() < maximumMessages) messages_.push_back(std::move(message));
}

std::vector<std::string> MessageSink::take() {
  std::lock_guard<std::mutex> lock(mutex_);
  return std::exchange(messages_, {});
}

std::shared_ptr<Instance> Instance::create(bool validation, std::shared_ptr<MessageSink> sink) {
  auto instance = std::shared_ptr<Instance>(new Instance());
  instance->loader_ = Loader::open();
  instance->sink_ = std::move(sink);
  instance->validation_ = validation;
  const Loader& loader = *instance->loader_;
  if (validation && !hasLayer(loader, validationLayer)) {
    throw Failure("device/unavailable", "The Vulkan validation layer was asked for and is not installed.")
        .withFix("apt-get install vulkan-validationlayers, or do without validation.");
  }
  VkApplicationInfo application{};
  application.sType = VK_STRUCTURE_TYPE_APPLICATION_INFO;
  application.pApplicationName = "unicorn";
  application.pEngineName = "unicorn";
  application.apiVersion = VK_API_VERSION_1_3;
  VkDebugUtilsMessengerCreateInfoEXT messages{};
  messages.sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT;
  messages.messageSeverity =
      VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT | VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT;
  messages.messageType =
      VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT | VK_DEBUG_UTILS_MESSAGE_TYPE_PERFORMANCE_BIT_EXT;
  messages.pfnUserCallback = collect;
  messages.pUserData = instance->sink_.get();
  const char* layers[] = {validationLayer};
  const char* extensions[] = {VK_EXT_DEBUG_UTILS_EXTENSION_NAME};
  VkInstanceCreateInfo info{};
  info.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO;
  info.pApplicationInfo = &application;
  if (validation) {
    info.pNext = &messages;  // also while the instance is made and destroyed
    info.enabledLayerCount = 1;
    info.ppEnabledLayerNames = layers;
    info.enabledExtensionCount = 1;  // the layer brings it
    info.ppEnabledExtensionNames = extensions;
  }
  const VkResult result = loader.createInstance(&info, nullptr, &instance->handle_);
  if (result != VK_SUCCESS) {
    instance->handle_ = VK_NULL_HANDLE;
    if (result == VK_ERROR_INCOMPATIBLE_DRIVER) {
      throw Failure("device/unavailable", "The Vulkan loader found no driver that it can use.", {},
                    {{"loader", loader.path()}})
          .withFix(
              "apt-get install mesa-vulkan-drivers, or the driver of the GPU's maker; VK_DRIVER_FILES, where it is "
              "set, must name one.");
    }
    throw Failure("device/unavailable", "Vulkan could not be begun: " + resultName(result) + ".", {},
                  {{"loader", loader.path()}})
        .withFix("`vulkaninfo --summary` should say more.");
  }
  const auto resolve = [&](const char* name) { return loader.getInstanceProcAddr(instance->handle_, name); };
#define UNICORN_RESOLVE(name) instance->vk_.name = reinterpret_cast<PFN_vk##name>(resolve("vk" #name));
  UNICORN_INSTANCE_FUNCTIONS(UNICORN_RESOLVE)
  UNICORN_OPTIONAL_INSTANCE_FUNCTIONS(UNICORN_RESOLVE)
#undef UNICORN_RESOLVE
#define UNICORN_CHECK(name) \
  if (instance->vk_.name == nullptr) throw Failure("device/unavailable", "The Vulkan loader lacks vk" #name ".");
  UNICORN_INSTANCE_FUNCTIONS(UNICORN_CHECK)
#undef UNICORN_CHECK
  if (validation && instance->vk_.CreateDebugUtilsMessengerEXT != nullptr) {
    instance->vk_.CreateDebugUtilsMessengerEXT(instance->handle_, &messages, nullptr, &instance->messenger_);
  }
  return instance;
}

Instance::~Instance() {
  if (handle_ == VK_NULL_HANDLE || vk_.DestroyInstance == nullptr) return;
  if (messenger_ != VK_NULL_HANDLE && vk_.DestroyDebugUtilsMessengerEXT != nullptr) {
    vk_.DestroyDebugUtilsMessengerEXT(handle_, messenger_, nullptr);
  }
  vk_.DestroyInstance(handle_, nullptr);
}

std::vector<VkPhysicalDevice> Instance::physicalDevices() const {
  std::vector<VkPhysicalDevice> devices;
  VkResult result;
  do {
    uint32_t count = 0;
    result = vk_.EnumeratePhysicalDevices(handle_, &count, nullptr);
    if (result != VK_SUCCESS) break;
    devices.resize(count);
    result = vk_.EnumeratePhysicalDevices(handle_, &count, devices.data());
    devices.resize(count);
  } while (result == VK_INCOMPLETE);  // one was plugged in between
  // Loaders without drivers say so here instead of when the instance is made.
  if (result == VK_ERROR_INITIALIZATION_FAILED) return {};
  if (result != VK_SUCCESS) {
    throw Failure("device/unavailable", "The Vulkan drivers could not list their devices: " + resultName(result) + ".")
        .withFix("`vulkaninfo --summary` should say more.");
  }
  return devices;
}

std::string resultName(VkResult result) {
  switch (result) {
    case VK_SUCCESS: return "VK_SUCCESS";
    case VK_NOT_READY: return "VK_NOT_READY";
    case VK_TIMEOUT: return "VK_TIMEOUT";
    case VK_ERROR_OUT_OF_HOST_MEMORY: return "VK_ERROR_OUT_OF_HOST_MEMORY";
    case VK_ERROR_OUT_OF_DEVICE_MEMORY: return "VK_ERROR_OUT_OF_DEVICE_MEMORY";
    case VK_ERROR_INITIALIZATION_FAILED: return "VK_ERROR_INITIALIZATION_FAILED";
    case VK_ERROR_DEVICE_LOST: return "VK_ERROR_DEVICE_LOST";
    case VK_ERROR_MEMORY_MAP_FAILED: return "VK_ERROR_MEMORY_MAP_FAILED";
    case VK_ERROR_LAYER_NOT_PRESENT: return "VK_ERROR_LAYER_NOT_PRESENT";
    case VK_ERROR_EXTENSION_NOT_PRESENT: return "VK_ERROR_EXTENSION_NOT_PRESENT";
    case VK_ERROR_FEATURE_NOT_PRESENT: return "VK_ERROR_FEATURE_NOT_PRESENT";
    case VK_ERROR_INCOMPATIBLE_DRIVER: return "VK_ERROR_INCOMPATIBLE_DRIVER";
    case VK_ERROR_TOO_MANY_OBJECTS: return "VK_ERROR_TOO_MANY_OBJECTS";
    case VK_ERROR_UNKNOWN: return "VK_ERROR_UNKNOWN";
    case VK_ERROR_INVALID_SHADER_NV: return "VK_ERROR_INVALID_SHADER_NV";
    default: return "VkResult " + std::to_string(static_cast<int>(result));
  }
}

}  // namespace unicorn
