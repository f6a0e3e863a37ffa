// Kernels compiled for GPUs that are not here: Mesa's RADV on null hardware makes real AMD code and says what
// it costs, on any machine.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <statescope/device.h>

#include "profiler/resources.h"
#include "profiler/watch.h"

namespace statescope {

/// What to compile: every kernel of the variant table of the device's api, or those of one rule, pass, type.
struct StaticOptions {
  std::optional<Rule> rule;
  std::optional<DType> dtype;
  std::vector<Pass> passes{std::begin(kPasses), std::end(kPasses)};
  std::int64_t expansion = 8, key_dim = 64, value_dim = 64;
  /// Keep the code of kernels whose name contains this; nothing: figures only.
  std::optional<std::string> code;
};

struct StaticKernel {
  Problem problem;
  std::string refusal;  ///< why there is no kernel; the rest is then empty
  Launch launch;
  std::uint32_t subgroup_size = 0;  ///< 0: the driver's choice
  CompiledKernel compiled;
};

struct StaticReport {
  std::string target;  ///< "navi21", or the device's name
  std::string absent;  ///< why the target could not be compiled for; the rest is then empty
  DeviceInfo device;
  std::vector<StaticKernel> kernels;
};

/// Compiles for a device of this process. Throws Error(kRefused) when its backend does not report kernels.
StaticReport static_report(Device& device, const StaticOptions& options, const Watch& watch = {});

/// The report of an AMD target: `arguments` name a program that prints static_json() of the first Vulkan
/// device, which is run with RADV alone and RADV_FORCE_FAMILY set, since a driver reads its environment once
/// a process and ends it when it does not know the target.
StaticReport static_report_of_target(const std::string& target, const std::vector<std::string>& arguments);

/// schema statescope.static/1. Reading throws Error(kUsage).
std::string static_json(const std::vector<StaticReport>& reports);
std::vector<StaticReport> parse_static_json(const std::string& text);

}  // namespace statescope
