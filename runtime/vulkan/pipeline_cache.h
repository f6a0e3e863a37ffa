// The driver's compiled pipelines, kept between runs in the user's cache directory: one file a device and
// driver.
#pragma once

#include <filesystem>

#include "runtime/vulkan/gpu.h"

namespace statescope::vulkan {

/// $XDG_CACHE_HOME/statescope (or ~/.cache/statescope) / vulkan-<device>-<driver>.bin. Empty when there is no
/// home.
std::filesystem::path pipeline_cache_path(const PhysicalDevice& physical);

/// Creates the device's pipeline cache, from the file where that is whole and of this driver; else empty.
void load_pipeline_cache(Gpu& gpu);

/// Writes it when it has grown, by a temporary name. A cache that cannot be written costs time only: no
/// error.
void save_pipeline_cache(Gpu& gpu);

}  // namespace statescope::vulkan
