// The Vulkan backend's entry: every compute-capable device, hardware first, then llvmpipe, then others.
#pragma once

#include <string>
#include <vector>

#include <statescope/device.h>

namespace statescope::vulkan {

/// Fills `status` with why there is none when there is none: no loader, no driver, a broken driver file.
/// Environment: STATESCOPE_VALIDATION=1 turns the validation layer on (and is refused where it is not
/// installed).
std::vector<DeviceEntry> find_devices(BackendStatus& status);

/// Every warning and error of the validation layer so far in this process.
std::vector<std::string> validation_messages();

}  // namespace statescope::vulkan
