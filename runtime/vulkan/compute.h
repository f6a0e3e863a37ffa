// Whole layers on a Vulkan device: the shaders of the operations around a recurrence, recorded into command
// buffers.
#pragma once

#include <statescope/compute.h>

#include "runtime/vulkan/gpu.h"
#include "runtime/vulkan/kernels.h"

namespace statescope::vulkan {

std::shared_ptr<Compute> make_compute(const std::shared_ptr<Gpu>& gpu, const DeviceInfo& info,
                                      const LaunchBounds& bounds);

}  // namespace statescope::vulkan
