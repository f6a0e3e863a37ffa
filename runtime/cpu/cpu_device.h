// The cpu as a device: the float64 reference behind the same interface as the GPUs.
#pragma once

#include <vector>

#include <statescope/device.h>

namespace statescope::cpu {

std::vector<DeviceEntry> find_devices(BackendStatus& status);

}  // namespace statescope::cpu
