// The options that sweep, bench and profile share: which configurations, on which devices.
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

/// What sweep and profile run, as typed.
struct SweepWords {
  SizeOptions sizes;
  std::string expansions = "1,2,4,8,16", passes = "forward", division = "both";
  double seconds = 0.25;
};

/// Everything but --device, whose default is the command's own.
void add_sweep_options(CLI::App& command, SweepWords& words);

/// Throws Error(kUsage) that names the option.
SweepOptions sweep_options(const SweepWords& words);

/// --dtype: of what a device runs, not of what a file may hold. Throws Error(kUsage).
DType parse_run_dtype(const std::string& text);

/// Comma-separated words or positive numbers, each once. Throws Error(kUsage) that names `what`.
std::vector<std::string> split(const std::string& text, const std::string& what);
std::vector<std::int64_t> parse_numbers(const std::string& text, const std::string& what);

/// One device, or with "all" every device that can run. Throws Error(kNoDevice).
std::vector<std::shared_ptr<Device>> open_devices(const std::string& name);

}  // namespace statescope::cli
