// What an H200 reports: for tests that ask the variant table without a device.
#pragma once

#include <statescope/variants.h>

namespace statescope {

inline DeviceLimits hopper_limits() {
  DeviceLimits limits;
  limits.api = Api::kCuda;
  limits.shared_memory_per_workgroup = 232448;
  limits.shared_memory_per_multiprocessor = 233472;
  limits.max_threads_per_multiprocessor = 2048;
  limits.multiprocessors = 132;
  limits.registers_per_multiprocessor = 65536;
  limits.compute_capability = 90;
  return limits;
}

}  // namespace statescope
