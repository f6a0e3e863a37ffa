// The Vulkan backend's entry: every compute-capable device, hardware first, then llvmpipe, then others.
#pragma once

#include <vector>

#include <statescope/device.h>

namespace statescope::vulkan {

/// Fills `status` with why there is none when there is none: no loader, no driver, a broken driver file.
std::vector<DeviceEntry> find_devices(BackendStatus& status);

}  // namespace statescope::vulkan
