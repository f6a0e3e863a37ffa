// Start-up check of what the kernels take for granted about subgroups: some drivers have answered wrongly.
#pragma once

#include <memory>
#include <string>

#include "runtime/vulkan/gpu.h"

namespace statescope::vulkan {

/// Runs subgroup_test.comp and returns what is wrong with shuffles or with the numbering of lanes; empty:
/// nothing.
std::string find_subgroup_fault(const std::shared_ptr<Gpu>& gpu, std::uint32_t subgroup_size);

}  // namespace statescope::vulkan
