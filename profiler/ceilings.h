// Each device's own measured ceilings, kept between runs.
#pragma once

#include <filesystem>

#include <statescope/device.h>

namespace statescope {

/// $XDG_CACHE_HOME/statescope or ~/.cache/statescope.
std::filesystem::path cache_directory();

/// Measured once a device, driver and version of this program, then read from the cache. A cache that cannot
/// be read or written only costs the second of measuring again.
Ceilings ceilings_of(Device& device);

}  // namespace statescope
