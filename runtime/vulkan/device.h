// An opened device behind the library's interface.
#pragma once

#include <memory>

#include "runtime/vulkan/kernels.h"
#include "runtime/vulkan/physical_device.h"

namespace statescope::vulkan {

/// Plans and runs by physical.info.limits, which may be less than what the driver reports. Throws
/// Error(kDevice) when the driver fails.
std::shared_ptr<Device> make_device(const PhysicalDevice& physical, const LaunchBounds& bounds);

}  // namespace statescope::vulkan
