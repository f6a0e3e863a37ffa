// The device database: limits of devices that need not be here (assets/devices.json, compiled in).
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <statescope/variants.h>

namespace statescope {

/// One device through one API: the same NVIDIA chip offers 99 to 227 KB a workgroup through CUDA and 48 KB
/// through Vulkan, so it has two entries.
struct DatabaseDevice {
  std::string name;                            ///< "GeForce RTX 3090"
  std::string driver;                          ///< "CUDA", "RADV"
  DeviceLimits limits;                         ///< 0: unknown
  std::map<std::string, std::string> sources;  ///< of each known field of DeviceLimits: document or driver

  /// "GeForce RTX 3090 (cuda)"
  std::string label() const;
};

/// In the order of the file. Throws Error(kUsage) on an unknown field or source, or a figure without a
/// source.
std::vector<DatabaseDevice> parse_device_database(std::string_view json);

/// The database that was compiled in.
const std::vector<DatabaseDevice>& device_database();

/// Entries whose label contains `name`, case-insensitive; "all" or "" is every entry. Throws Error(kNoDevice)
/// that lists the names when there is none.
std::vector<DatabaseDevice> find_in_database(const std::string& name);

}  // namespace statescope
