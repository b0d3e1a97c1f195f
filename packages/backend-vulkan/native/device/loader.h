// The Vulkan loader of the machine, opened when it is first needed: the addon does not link it, so that installing the
// package where there is none does no harm.
#pragma once

#include <memory>
#include <string>

#include "functions.h"

namespace unicorn {

class Loader {
 public:
  // UNICORN_VULKAN_LOADER names the library, else it is the system's. Throws Failure device/unavailable with a fix.
  static std::shared_ptr<Loader> open();

  const std::string& path() const { return path_; }

  PFN_vkGetInstanceProcAddr getInstanceProcAddr = nullptr;
  PFN_vkCreateInstance createInstance = nullptr;
  PFN_vkEnumerateInstanceLayerProperties enumerateInstanceLayerProperties = nullptr;
  PFN_vkEnumerateInstanceExtensionProperties enumerateInstanceExtensionProperties = nullptr;

 private:
  explicit Loader(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

}  // namespace unicorn
