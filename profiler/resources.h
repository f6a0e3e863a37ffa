// What a kernel takes of a multiprocessor: as the kernel table predicts it, beside what the compiler or
// driver reports.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "profiler/capture.h"

namespace statescope {

/// Resident threads over the most possible, and what keeps it there: "" when nothing does.
struct ReportedOccupancy {
  double fraction = 0;
  std::string limited_by;  ///< "shared memory", "registers" or ""
};

struct KernelResources {
  std::string device;
  Problem problem;
  std::int64_t expansion = 1;
  Launch launch;  ///< sizes, and what was reported
  /// Predicted from shared memory, threads and, where they are reported, registers. All zero when the
  /// device's figures are unknown.
  int workgroups_per_multiprocessor = 0;
  double occupancy = 0;
  std::string_view limited_by;  ///< "shared memory", "threads", "workgroups", "registers", "" when unknown
  /// Whether the shared memory that was reported is what the table says. Nothing when it is not reported.
  std::optional<bool> shared_memory_agrees;
  std::optional<ReportedOccupancy> reported;
};

/// `statistics`: what the compiler reported of this launch; may be empty. `subgroup_size` 0: unknown.
KernelResources resources_of(const Launch& launch, const std::vector<CompiledKernel::Statistic>& statistics,
                             std::uint32_t subgroup_size, const DeviceLimits& limits);

/// Every launch of every measured entry.
std::vector<KernelResources> resources_of(const Capture& capture);

/// A statistic by the driver's name for it; nothing when the driver did not report it.
std::optional<double> statistic_of(const std::vector<CompiledKernel::Statistic>& statistics,
                                   std::string_view name);

}  // namespace statescope
