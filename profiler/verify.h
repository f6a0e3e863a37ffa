// Holding devices against the reference: the generated matrix of sizes, or files that carry their own
// outputs.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <statescope/device.h>

#include "runtime/check/compare.h"

#include "profiler/watch.h"

namespace statescope {

enum class VerifyStatus {
  kPassed,
  kFailed,
  kMissing,  ///< the device has no kernel for this pass, form or type
};
std::string_view name(VerifyStatus status);

/// One line of the table: a device, and either every generated size of a rule, pass, form, type and series
/// (production also behind a front end), or a file.
struct VerifyRow {
  std::string device;
  std::string source;  ///< "generated", or the file's name
  Rule rule = Rule::kLinear;
  Pass pass = Pass::kForward;
  Form form = Form::kRecurrent;
  DType dtype = DType::kF32;
  Series series = Series::kProduction;
  Division division = Division::kSubheads;
  bool front_end = false;
  VerifyStatus status = VerifyStatus::kMissing;
  int passed = 0, failed = 0;
  int refused = 0;         ///< sizes beyond the device's limits; `detail` has the first reason
  double worst_error = 0;  ///< largest relative to its tolerance
  double tolerance = 0;
  std::string worst_slot;
  std::string detail;  ///< of a failure: the case and the output; else of a refusal
};

struct VerifyOptions {
  bool full = false;
  std::vector<std::filesystem::path> inputs;  ///< files or directories of *.safetensors; empty: the matrix
};

/// Calls `on_row` as each row is done. Devices share references: a size is computed once for all of them.
/// Throws Error(kUsage) on a malformed file.
void verify(const std::vector<std::shared_ptr<Device>>& devices, const VerifyOptions& options,
            const std::function<void(const VerifyRow&)>& on_row, const Watch& watch = {});

}  // namespace statescope
