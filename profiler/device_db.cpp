#include "profiler/device_db.h"

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>

#include "device_database.h"

#include <statescope/error.h>

namespace statescope {
namespace {

using nlohmann::json;

/// Where each field of the file goes.
void set_field(DeviceLimits& limits, const std::string& field, const json& value) {
  if (field == "shared_memory_per_workgroup")
    value.get_to(limits.shared_memory_per_workgroup);
  else if (field == "shared_memory_per_multiprocessor")
    value.get_to(limits.shared_memory_per_multiprocessor);
  else if (field == "max_workgroup_size")
    value.get_to(limits.max_workgroup_size);
  else if (field == "subgroup_min")
    value.get_to(limits.subgroup_min);
  else if (field == "subgroup_max")
    value.get_to(limits.subgroup_max);
  else if (field == "max_threads_per_multiprocessor")
    value.get_to(limits.max_threads_per_multiprocessor);
  else if (field == "multiprocessors")
    value.get_to(limits.multiprocessors);
  else if (field == "registers_per_multiprocessor")
    value.get_to(limits.registers_per_multiprocessor);
  else if (field == "compute_capability")
    value.get_to(limits.compute_capability);
  else if (field == "storage_16bit")
    value.get_to(limits.storage_16bit);
  else if (field == "subgroup_shuffle")
    value.get_to(limits.subgroup_shuffle);
  else if (field == "subgroup_arithmetic")
    value.get_to(limits.subgroup_arithmetic);
  else if (field == "subgroup_clustered")
    value.get_to(limits.subgroup_clustered);
  else if (field == "cooperative_matrix_f16")
    value.get_to(limits.cooperative_matrix_f16);
  else if (field == "cooperative_matrix_bf16")
    value.get_to(limits.cooperative_matrix_bf16);
  else
    throw Error(ErrorKind::kUsage, "device database: unknown field '" + field + "'");
}

DatabaseDevice parse_device(const json& entry, const json& sources) {
  DatabaseDevice device;
  entry.at("name").get_to(device.name);
  entry.at("driver").get_to(device.driver);
  const std::string api = entry.at("api");
  if (api != "cuda" && api != "vulkan") {
    throw Error(ErrorKind::kUsage,
                "device database: " + device.name + " has api '" + api + "', wanted cuda or vulkan");
  }
  device.limits.api = api == "cuda" ? Api::kCuda : Api::kVulkan;
  for (const auto& [field, figure] : entry.at("limits").items()) {
    if (!figure.is_array() || figure.size() != 2 || !sources.contains(figure[1].get<std::string>())) {
      throw Error(ErrorKind::kUsage, "device database: " + device.name + " has no known source for " + field +
                                         ", wanted [value, source]");
    }
    set_field(device.limits, field, figure[0]);
    device.sources[field] = sources.at(figure[1].get<std::string>());
  }
  return device;
}

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

}  // namespace

std::string DatabaseDevice::label() const {
  return name + " (" + std::string(statescope::name(limits.api)) + ")";
}

std::vector<DatabaseDevice> parse_device_database(std::string_view text) {
  try {
    const json document = json::parse(text);
    std::vector<DatabaseDevice> devices;
    for (const json& entry : document.at("devices"))
      devices.push_back(parse_device(entry, document.at("sources")));
    return devices;
  } catch (const json::exception& e) {
    throw Error(ErrorKind::kUsage, std::string("device database: ") + e.what());
  }
}

const std::vector<DatabaseDevice>& device_database() {
  static const std::vector<DatabaseDevice> devices = [] {
    const auto bytes = embedded::device_database().front().bytes;
    return parse_device_database({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  }();
  return devices;
}

std::vector<DatabaseDevice> find_in_database(const std::string& wanted) {
  if (wanted.empty() || wanted == "all") return device_database();
  std::vector<DatabaseDevice> found;
  for (const DatabaseDevice& device : device_database()) {
    if (lower(device.label()).find(lower(wanted)) != std::string::npos) found.push_back(device);
  }
  if (!found.empty()) return found;
  std::string message = "no device '" + wanted + "' in the database; there are";
  for (const DatabaseDevice& device : device_database()) message += " " + device.label() + ",";
  message.back() = '.';
  throw Error(ErrorKind::kNoDevice, message);
}

}  // namespace statescope
