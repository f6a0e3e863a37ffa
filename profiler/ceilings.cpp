#include "profiler/ceilings.h"

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>

#include "profiler/build_info.h"

#include <statescope/error.h>
#include <statescope/safetensors.h>

namespace statescope {
namespace {

using nlohmann::json;

std::string key_of(const DeviceInfo& info) {
  return std::string(name(info.api)) + "|" + info.description + "|" + info.driver + "|" +
         std::string(version()) + "|" + std::string(commit());
}

std::filesystem::path cache_file() {
  return cache_directory() / "ceilings.json";
}

json read_cache() {
  std::ifstream file(cache_file());
  const json cache = json::parse(file, nullptr, false);
  return cache.is_object() ? cache : json::object();
}

std::optional<Ceilings> from_json(const json& entry) {
  Ceilings ceilings;
  const auto read = [&](const char* field, double& value) {
    if (!entry.is_object() || !entry.contains(field) || !entry[field].is_number()) return false;
    value = entry[field];
    return true;
  };
  const bool whole = read("copy_bytes_per_second", ceilings.copy_bytes_per_second) &&
                     read("f32_flop_per_second", ceilings.f32_flop_per_second) &&
                     read("matrix_flop_per_second", ceilings.matrix_flop_per_second);
  return whole ? std::optional(ceilings) : std::nullopt;
}

void write_cache(const std::string& key, const Ceilings& ceilings) {
  json cache = read_cache();
  cache[key] = {{"copy_bytes_per_second", ceilings.copy_bytes_per_second},
                {"f32_flop_per_second", ceilings.f32_flop_per_second},
                {"matrix_flop_per_second", ceilings.matrix_flop_per_second}};
  std::error_code ignored;
  std::filesystem::create_directories(cache_directory(), ignored);
  const std::string text = cache.dump(2);
  try {
    write_file_atomically(cache_file(), std::as_bytes(std::span(text)));
  } catch (const Error&) {
    // The cache saves a second; that it cannot be kept is nobody's error.
  }
}

}  // namespace

std::filesystem::path cache_directory() {
  if (const char* cache = std::getenv("XDG_CACHE_HOME"); cache && *cache)
    return std::filesystem::path(cache) / "statescope";
  const char* home = std::getenv("HOME");
  return std::filesystem::path(home && *home ? home : "/tmp") / ".cache" / "statescope";
}

Ceilings ceilings_of(Device& device) {
  const std::string key = key_of(device.info());
  const json cache = read_cache();
  if (cache.contains(key)) {
    if (const auto cached = from_json(cache[key])) return *cached;
  }
  const Ceilings ceilings = device.measure_ceilings();
  write_cache(key, ceilings);
  return ceilings;
}

}  // namespace statescope
