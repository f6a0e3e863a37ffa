// Timing one configuration on one device, and never a wrong one: the outputs are held against the reference
// first.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <statescope/device.h>

#include "profiler/oracle.h"
#include "profiler/timeline.h"
#include "profiler/watch.h"

namespace statescope {

/// Order statistics of a sample.
struct Spread {
  int count = 0;
  double min = 0, p10 = 0, median = 0, p90 = 0, max = 0;
};
Spread spread_of(std::vector<double> sample);

struct BenchOptions {
  double seconds = 1.0;  ///< about how long to time, after the warm-up
  double warm_up = 0.3;  ///< seconds on the host that a GPU runs untimed first: idle ones clock down
  int min_runs = 5, max_runs = 200;
  int min_slow_runs = 3;  ///< where one run takes longer than `seconds`
  /// Input sets are rotated so that together they exceed any last-level cache known (MI300X has 256 MiB).
  double rotate_bytes = 512.0 * 1024 * 1024;
  int max_input_sets = 16;
  Timeline* timeline = nullptr;  ///< records what is done and every launch, when there is one
};

/// What came of one configuration. `verified` false: it was not timed.
struct Measurement {
  Plan plan;
  std::vector<OutputError> errors;
  bool verified = false;
  bool checked_whole = true;     ///< false: errors are of sampled rows and heads
  Spread seconds;                ///< device time of a run
  std::vector<Spread> launches;  ///< of each launch in Plan::launches' order
  std::vector<RunTime> runs;     ///< the sample itself, in the order in which it was taken
  int input_sets = 1;
  double tokens_per_second = 0;  ///< B T over the median
  double flop_per_second = 0;    ///< flop() of the form that ran
  double bytes_per_second = 0;   ///< minimum_bytes(): what must move, not what did
};

/// Plans, checks on the oracle's inputs, then times. Throws what Device::plan and prepare throw.
Measurement measure(Device& device, const Problem& problem, const Oracle& oracle, const BenchOptions& options,
                    const Watch& watch = {});

/// Section 5's configuration on hardware, a small one on software devices: B, T, H, K, V and the type.
Problem default_problem(const DeviceInfo& info);

/// Whether a problem's oracle serves another's: same inputs and same mathematics, whatever kernel runs it.
bool same_mathematics(const Problem& a, const Problem& b);

}  // namespace statescope
