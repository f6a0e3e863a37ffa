// The Vulkan instance, with the validation layer when the environment variable STATESCOPE_VALIDATION is 1.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "runtime/vulkan/functions.h"

namespace statescope::vulkan {

struct Instance {
  VkInstance handle = VK_NULL_HANDLE;
  VkDebugUtilsMessengerEXT messenger = VK_NULL_HANDLE;
  bool validation = false;
  Instance() = default;
  Instance(const Instance&) = delete;
  Instance& operator=(const Instance&) = delete;
  ~Instance();
};

/// Null, with the reason in `why`, when there is no loader, no driver that loads, or no validation layer
/// though it was asked for.
std::shared_ptr<Instance> create_instance(std::string& why);

}  // namespace statescope::vulkan
