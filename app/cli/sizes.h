// The options that sweep and bench share: which configuration, on which devices.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <statescope/device.h>

#include "app/cli/command.h"
#include "profiler/sweep.h"

namespace statescope::cli {

/// As typed; "" and 0 mean: the default.
struct SizeOptions {
  std::string device, rule, dtype, form;
  std::int64_t batch = 0, seq_len = 0, heads = 0, key_dim = 0, value_dim = 0;
};

void add_size_options(CLI::App& command, SizeOptions& options);

/// Throws Error(kUsage) for a word that is no rule, type or form.
SweepOptions sweep_options(const SizeOptions& options);

/// Comma-separated words or positive numbers. Throws Error(kUsage) that names `what`.
std::vector<std::string> split(const std::string& text);
std::vector<std::int64_t> parse_numbers(const std::string& text, const std::string& what);

/// One device, or with "all" every device that can run. Throws Error(kNoDevice).
std::vector<std::shared_ptr<Device>> open_devices(const std::string& name);

}  // namespace statescope::cli
