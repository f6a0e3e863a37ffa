// The cpu as a device: the float64 reference behind the same interface as the GPUs.
#pragma once

#include <vector>

#include <statescope/device.h>

namespace statescope::cpu {

/// Of this machine: what no problem on the cpu, and no inputs made on it, can go beyond.
std::size_t memory_bytes();

std::vector<DeviceEntry> find_devices(BackendStatus& status);

}  // namespace statescope::cpu
