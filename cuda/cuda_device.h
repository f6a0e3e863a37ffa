// The CUDA backend's entry.
#pragma once

#include <vector>

#include <statescope/device.h>

namespace statescope::cuda {

/// Fills `status` with why there is none when there is none: no driver, a driver older than the runtime, no
/// device.
std::vector<DeviceEntry> find_devices(BackendStatus& status);

}  // namespace statescope::cuda
