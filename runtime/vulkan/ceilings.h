// The device's own sustained rates.
#pragma once

#include <memory>

#include <statescope/device.h>

#include "runtime/vulkan/gpu.h"

namespace statescope::vulkan {

Ceilings measure_ceilings(const std::shared_ptr<Gpu>& gpu);

}  // namespace statescope::vulkan
