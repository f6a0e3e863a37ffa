// The front end before any implementation of the recurrence: shaders/front_end_*.comp.
#pragma once

#include "runtime/vulkan/kernels.h"

namespace statescope::vulkan {

/// The problem's dispatches, `inner` being those of without_front_end(problem).
Dispatches behind_front_end(const Problem& problem, const DeviceInfo& device, const LaunchBounds& bounds,
                            Dispatches inner);

}  // namespace statescope::vulkan
