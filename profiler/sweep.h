// The main job: every device, every expansion, naive against subheads, each result verified before it is
// timed.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <statescope/device.h>

#include "profiler/bench.h"
#include "profiler/watch.h"

namespace statescope {

/// The three bars of a device: the comparison kernels in both divisions, and what the device does best.
enum class SweepSeries { kNaive, kSubheads, kProduction };
inline constexpr SweepSeries kSweepSeries[] = {SweepSeries::kNaive, SweepSeries::kSubheads,
                                               SweepSeries::kProduction};
std::string_view name(SweepSeries series);  ///< "naive", "subheads", "production"

enum class SweepStatus {
  kMeasured,
  kRefused,  ///< the device cannot run it; `reason` in numbers
  kWrong,    ///< the outputs missed the tolerance: not timed
  kFailed,   ///< the device was lost or out of memory: its later cells are not run; or the host was, for one
             ///< cell
};
std::string_view name(SweepStatus status);

/// Sizes that were asked for; those that were not are default_problem()'s of each device.
struct SweepOptions {
  std::vector<std::int64_t> expansions{1, 2, 4, 8, 16};
  std::vector<Pass> passes{Pass::kForward};
  std::vector<SweepSeries> series{std::begin(kSweepSeries), std::end(kSweepSeries)};
  std::optional<Rule> rule;
  std::optional<DType> dtype;
  std::optional<Form> form;  ///< of the production kernels
  std::optional<std::int64_t> batch, seq_len, heads, key_dim, value_dim;
  double seconds_per_cell = 0.25;
  int min_runs = 3;
  int min_slow_runs = 1;         ///< of cells where one run takes longer than `seconds_per_cell`
  Timeline* timeline = nullptr;  ///< records what is done, when there is one
};

struct SweepRow {
  std::size_t device = 0;  ///< index into SweepResult::devices
  SweepSeries series = SweepSeries::kProduction;
  std::int64_t expansion = 1;  ///< E, also of a naive row, whose problem has E = 1 and K = E K
  Problem problem;
  SweepStatus status = SweepStatus::kMeasured;
  std::string reason;                      ///< empty when measured
  std::optional<Measurement> measurement;  ///< measured and wrong rows
};

struct SweepDevice {
  DeviceInfo info;
  Ceilings ceilings;
  Problem base;  ///< the sizes of its rows at E = 1
};

struct SweepResult {
  std::vector<SweepDevice> devices;
  std::vector<SweepRow> rows;  ///< by device, pass, series, expansion
  double wall_seconds = 0;
};

/// Whether a device has rows of a series: the cpu has one text for both of subheads and calls it production.
bool has_series(const DeviceInfo& info, SweepSeries series);

/// default_problem() with what the options say.
Problem base_problem(const DeviceInfo& info, const SweepOptions& options);
/// The problem of one cell.
Problem cell_problem(const Problem& base, SweepSeries series, std::int64_t expansion, Pass pass,
                     const SweepOptions& options);

/// Asked to stop, it returns the cells measured so far; throws Cancelled where there are none.
SweepResult sweep(const std::vector<std::shared_ptr<Device>>& devices, const SweepOptions& options,
                  const Watch& watch = {});

/// 4 when a device failed, 1 when a result was wrong, else 0: what the program exits with.
int exit_code(const SweepResult& result);

}  // namespace statescope
