// The table of kernels of a capture: how often, how long, how near to the device's ceilings.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "profiler/bench.h"
#include "profiler/capture.h"
#include "profiler/statistics.h"

namespace statescope {

/// One launch of one entry. A variant of one launch has flop, bytes and shares of its own; of several, only
/// the run as a whole has them (`whole_run`, which then stands before its launches).
struct KernelRow {
  std::size_t entry = 0;  ///< index into Capture::entries
  std::string kernel;
  bool whole_run = false;
  std::size_t calls = 0;
  double total = 0;  ///< seconds
  double share =
      0;  ///< of all time that kernels ran on that device in the capture; whole runs not counted twice
  Spread seconds;
  double p95 = 0;
  Histogram histogram;
  std::vector<double> sample;  ///< seconds of each call, in the order of the runs

  // By the median; nothing for a launch that is a part of a run.
  std::optional<double> flop_per_second;
  std::optional<double> bytes_per_second;  ///< of what must move at least
  std::optional<double>
      share_of_compute;  ///< of the compute roof that the kernel may use; nothing if unmeasured
  std::optional<double> share_of_copy;
};

/// Rows by device, the largest total first, each whole run followed by its launches.
std::vector<KernelRow> kernel_table(const Capture& capture, std::size_t histogram_bins = 16);

}  // namespace statescope
