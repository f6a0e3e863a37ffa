// What each physical device is and can do, asked of its driver.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <vector>

#include <statescope/device.h>

#include "runtime/vulkan/instance.h"

namespace statescope::vulkan {

struct PhysicalDevice {
  std::shared_ptr<Instance> instance;
  VkPhysicalDevice handle = VK_NULL_HANDLE;
  VkPhysicalDeviceProperties properties{};
  VkPhysicalDeviceMemoryProperties memory{};
  VkDriverId driver = VkDriverId(0);
  std::uint32_t driver_version = 0;
  std::array<std::uint8_t, VK_UUID_SIZE> driver_uuid{};
  std::set<std::string> extensions;
  std::uint32_t queue_family = 0;
  std::uint32_t timestamp_bits = 0;    ///< 0: no device timestamps
  bool subgroup_size_control = false;  ///< compute pipelines may ask for a subgroup size
  bool full_subgroups = false;         ///< and for workgroups of whole subgroups
  bool executable_properties = false;  ///< drivers report registers and the like
  bool calibrated_timestamps = false;  ///< device time can be placed on the host's monotonic clock
  DeviceInfo info;                     ///< its name is given by find_devices()
};

/// Every device with Vulkan 1.2 and a compute queue: hardware first, then llvmpipe, then others; one GPU
/// under several drivers once. `why`: those left out, or why enumeration failed.
std::vector<PhysicalDevice> find_physical_devices(const std::shared_ptr<Instance>& instance,
                                                  std::string& why);

/// Device-local memory of the largest heap, bytes.
std::uint64_t device_memory_bytes(const PhysicalDevice& physical);

}  // namespace statescope::vulkan
