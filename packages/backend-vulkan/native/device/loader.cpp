#include "loader.h"

#include <dlfcn.h>

#include <cstdlib>

#include <unicorn/failure.h>

namespace unicorn {
namespace {

constexpr const char* installFix =
    "apt-get install libvulkan1 mesa-vulkan-drivers, or the driver package of the GPU's maker.";

template <typename Function>
void resolve(PFN_vkGetInstanceProcAddr getInstanceProcAddr, const char* name, Function& function) {
  function = reinterpret_cast<Function>(getInstanceProcAddr(nullptr, name));
}

}  // namespace

std::shared_ptr<Loader> Loader::open() {
  const char* chosen = std::getenv("UNICORN_VULKAN_LOADER");
  const bool isChosen = chosen != nullptr && *chosen != '\0';
  const std::string path = isChosen ? chosen : "libvulkan.so.1";
  // Never closed: drivers leave threads and thread-local destructors behind that would run into unmapped code.
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* why = dlerror();
    throw Failure("device/unavailable",
                  "The Vulkan loader could not be opened: " + std::string(why != nullptr ? why : path) + ".", {},
                  {{"loader", path}})
        .withFix(isChosen ? "Unset UNICORN_VULKAN_LOADER, or let it name a libvulkan.so.1." : installFix);
  }
  auto loader = std::shared_ptr<Loader>(new Loader(path));
  loader->getInstanceProcAddr = reinterpret_cast<PFN_vkGetInstanceProcAddr>(dlsym(library, "vkGetInstanceProcAddr"));
  if (loader->getInstanceProcAddr == nullptr) {
    throw Failure("device/unavailable", path + " is not a Vulkan loader.", {}, {{"loader", path}})
        .withFix(isChosen ? "Unset UNICORN_VULKAN_LOADER, or let it name a libvulkan.so.1." : installFix);
  }
  PFN_vkEnumerateInstanceVersion enumerateInstanceVersion = nullptr;
  resolve(loader->getInstanceProcAddr, "vkEnumerateInstanceVersion", enumerateInstanceVersion);
  resolve(loader->getInstanceProcAddr, "vkCreateInstance", loader->createInstance);
  resolve(loader->getInstanceProcAddr, "vkEnumerateInstanceLayerProperties", loader->enumerateInstanceLayerProperties);
  resolve(loader->getInstanceProcAddr, "vkEnumerateInstanceExtensionProperties",
          loader->enumerateInstanceExtensionProperties);
  if (enumerateInstanceVersion == nullptr || loader->createInstance == nullptr) {
    // Vulkan 1.0: it refuses instances of later versions.
    throw Failure("device/unavailable", "The Vulkan loader " + path + " is too old: it knows Vulkan 1.0 only.", {},
                  {{"loader", path}})
        .withFix(installFix);
  }
  return loader;
}

}  // namespace unicorn
