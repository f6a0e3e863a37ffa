// The files and the --json of the program (docs/formats.md): every figure that is printed, machine-readable.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include <statescope/device.h>

#include "profiler/bench.h"
#include "profiler/limits.h"
#include "profiler/sweep.h"
#include "profiler/verify.h"

namespace statescope {

/// {"schema", "version", "commit"}: what every file starts with.
nlohmann::json document(std::string_view schema);

nlohmann::json to_json(const DeviceInfo& info);
nlohmann::json to_json(const DeviceLimits& limits);
nlohmann::json to_json(const Problem& problem);
nlohmann::json to_json(const Ceilings& ceilings);
nlohmann::json to_json(const Spread& spread);
nlohmann::json to_json(const Measurement& measurement, const Ceilings& ceilings);
nlohmann::json to_json(const VerifyRow& row);
nlohmann::json to_json(const DeviceLimitsRow& row);

/// schema statescope.devices.found/1, statescope.limits/1, statescope.sweep/1.
nlohmann::json devices_document(const DeviceList& list);
nlohmann::json limits_document(const Problem& shape, const std::vector<DeviceLimitsRow>& rows);
nlohmann::json sweep_document(const SweepResult& result);

/// One line a row, units in the column names.
std::string sweep_csv(const SweepResult& result);

/// In quotes where it needs them.
std::string csv_field(const std::string& text);

/// Writes text by the rule of write_file_atomically().
void write_text(const std::filesystem::path& path, const std::string& text);

}  // namespace statescope
