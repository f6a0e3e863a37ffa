#include "runtime/vulkan/vulkan_device.h"

#include <cstdlib>

#include <statescope/error.h>

#include "runtime/vulkan/device.h"
#include "runtime/vulkan/timestamps.h"

namespace statescope::vulkan {
namespace {

/// Mesa's RADV on null hardware compiles for the family that is named, and runs nothing.
bool is_null_hardware(const PhysicalDevice& physical) {
  return physical.driver == VK_DRIVER_ID_MESA_RADV && std::getenv("RADV_FORCE_FAMILY");
}

}  // namespace

std::vector<DeviceEntry> find_devices(BackendStatus& status) {
  std::vector<DeviceEntry> entries;
  try {
    const std::shared_ptr<Instance> instance = create_instance(status.reason);
    if (!instance) return {};
    for (PhysicalDevice& physical : find_physical_devices(instance, status.reason)) {
      physical.info.name = "vulkan:" + std::to_string(entries.size());
      physical.info.clock = host_clock_name(physical);
      if (is_null_hardware(physical)) {
        physical.info.can_run = false;
        physical.info.notes.push_back("null hardware: compiles kernels, runs none");
      }
      // Opened once while anybody uses it.
      entries.push_back({physical.info, [physical, opened = std::weak_ptr<Device>()]() mutable {
                           std::shared_ptr<Device> device = opened.lock();
                           if (!device) opened = device = make_device(physical, launch_bounds(physical));
                           return device;
                         }});
    }
  } catch (const Error& error) {
    status.reason = error.what();
    return {};
  }
  return entries;
}

}  // namespace statescope::vulkan
