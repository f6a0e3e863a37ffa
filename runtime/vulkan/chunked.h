// The chunked kernels of shaders/chunked*.comp as dispatches.
#pragma once

#include "runtime/vulkan/kernels.h"

namespace statescope::vulkan {

/// As dispatches_of(), for a choice of a chunked variant.
Dispatches chunked(const Problem& problem, const Choice& choice, const DeviceInfo& device,
                   const LaunchBounds& bounds);
Dispatches chunked_backward(const Problem& problem, const Choice& choice, const DeviceInfo& device,
                            const LaunchBounds& bounds);

}  // namespace statescope::vulkan
