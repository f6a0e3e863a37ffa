#include "runtime/vulkan/functions.h"

#include <dlfcn.h>

#include <statescope/error.h>

namespace statescope::vulkan {

PFN_vkGetInstanceProcAddr vkGetInstanceProcAddr = nullptr;
#define X(name) PFN_vk##name vk##name = nullptr;
STATESCOPE_VULKAN_CORE(X)
STATESCOPE_VULKAN_EXTENSIONS(X)
#undef X

std::string load_loader() {
  // Never closed: drivers leave threads and exit handlers behind.
  static const std::string why = [] {
    void* loader = dlopen("libvulkan.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!loader) return std::string("no Vulkan loader: ") + dlerror();
    std::string missing;
    vkGetInstanceProcAddr =
        reinterpret_cast<PFN_vkGetInstanceProcAddr>(dlsym(loader, "vkGetInstanceProcAddr"));
#define X(name)                                                         \
  vk##name = reinterpret_cast<PFN_vk##name>(dlsym(loader, "vk" #name)); \
  if (!vk##name) missing += " vk" #name;
    STATESCOPE_VULKAN_CORE(X)
#undef X
    if (missing.empty()) return std::string();
    return "the Vulkan loader is too old: it lacks" + missing;
  }();
  return why;
}

void load_extensions(VkInstance instance) {
#define X(name) vk##name = reinterpret_cast<PFN_vk##name>(vkGetInstanceProcAddr(instance, "vk" #name));
  STATESCOPE_VULKAN_EXTENSIONS(X)
#undef X
}

std::string name(VkResult result) {
  switch (result) {
#define X(code) \
  case code:    \
    return #code;
    X(VK_SUCCESS)
    X(VK_NOT_READY)
    X(VK_TIMEOUT)
    X(VK_INCOMPLETE)
    X(VK_ERROR_OUT_OF_HOST_MEMORY)
    X(VK_ERROR_OUT_OF_DEVICE_MEMORY)
    X(VK_ERROR_INITIALIZATION_FAILED)
    X(VK_ERROR_DEVICE_LOST)
    X(VK_ERROR_MEMORY_MAP_FAILED)
    X(VK_ERROR_LAYER_NOT_PRESENT)
    X(VK_ERROR_EXTENSION_NOT_PRESENT)
    X(VK_ERROR_FEATURE_NOT_PRESENT)
    X(VK_ERROR_INCOMPATIBLE_DRIVER)
    X(VK_ERROR_TOO_MANY_OBJECTS)
    X(VK_ERROR_OUT_OF_POOL_MEMORY)
#undef X
    default:
      return "VkResult " + std::to_string(result);
  }
}

void check(VkResult result, const std::string& what) {
  if (result != VK_SUCCESS) throw Error(ErrorKind::kDevice, what + ": " + name(result));
}

}  // namespace statescope::vulkan
