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
  std::vector<CompiledKernel::Statistic> statistics;  ///< all that the compiler reported, in its own words
};

KernelResources resources_of(const Launch& launch, const DeviceLimits& limits);

/// Every launch of every measured entry.
std::vector<KernelResources> resources_of(const Capture& capture);

}  // namespace statescope
