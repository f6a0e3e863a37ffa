#include "profiler/sweep.h"

#include <algorithm>
#include <chrono>
#include <new>
#include <sstream>
#include <tuple>

#include <statescope/error.h>

#include "profiler/ceilings.h"

namespace statescope {
namespace {

/// Of the host, while a cell was measured.
constexpr const char* kOutOfMemory = "out of memory on the host";

/// Oracles of one expansion and pass: devices of the same sizes share them, and at E = 1 all series do.
class Oracles {
 public:
  explicit Oracles(Timeline* timeline) : timeline_(timeline) {}

  const Oracle& of(const Problem& problem) {
    for (const auto& oracle : oracles_) {
      if (same_mathematics(oracle->problem, problem)) return *oracle;
    }
    const HostSpan span(timeline_, "reference");
    oracles_.push_back(std::make_unique<Oracle>(make_oracle(problem, 1)));
    return *oracles_.back();
  }

 private:
  Timeline* timeline_;
  std::vector<std::unique_ptr<Oracle>> oracles_;
};

std::string miss(const Measurement& m) {
  std::ostringstream text;
  const OutputError& bad = worst(m.errors);
  text << name(bad.slot) << " error " << bad.error << " > " << bad.tolerance;
  return text.str();
}

SweepRow run_cell(Device& device, SweepRow row, Oracles& oracles, const BenchOptions& options,
                  const Watch& watch) {
  try {
    device.plan(row.problem);  // a refusal costs no reference
    row.measurement = measure(device, row.problem, oracles.of(row.problem), options, watch);
    if (!row.measurement->verified) {
      row.status = SweepStatus::kWrong;
      row.reason = miss(*row.measurement);
    }
  } catch (const Error& e) {
    if (e.kind() == ErrorKind::kNoDevice) throw;
    row.status = e.kind() == ErrorKind::kDevice ? SweepStatus::kFailed : SweepStatus::kRefused;
    row.reason = e.what();
  } catch (const std::bad_alloc&) {  // this cell's memory is free again: the others are run
    row.measurement.reset();
    row.status = SweepStatus::kFailed;
    row.reason = kOutOfMemory;
  }
  return row;
}

}  // namespace

std::string_view name(SweepSeries series) {
  switch (series) {
    case SweepSeries::kNaive:
      return "naive";
    case SweepSeries::kSubheads:
      return "subheads";
    case SweepSeries::kProduction:
      return "production";
  }
  return "";
}

std::string_view name(SweepStatus status) {
  switch (status) {
    case SweepStatus::kMeasured:
      return "measured";
    case SweepStatus::kRefused:
      return "refused";
    case SweepStatus::kWrong:
      return "wrong";
    case SweepStatus::kFailed:
      return "failed";
  }
  return "";
}

bool has_series(const DeviceInfo& info, SweepSeries series) {
  return info.api != Api::kCpu || series != SweepSeries::kSubheads;
}

Problem base_problem(const DeviceInfo& info, const SweepOptions& options) {
  Problem base = default_problem(info);
  base.rule = options.rule.value_or(base.rule);
  base.dtype = options.dtype.value_or(base.dtype);
  base.batch = base.sequences = options.batch.value_or(base.batch);
  base.seq_len = options.seq_len.value_or(base.seq_len);
  base.heads = base.qk_heads = options.heads.value_or(base.heads);
  base.key_dim = options.key_dim.value_or(base.key_dim);
  base.value_dim = options.value_dim.value_or(base.value_dim);
  base.scale = default_scale(base.key_dim);
  return base;
}

Problem cell_problem(const Problem& base, SweepSeries series, std::int64_t expansion, Pass pass,
                     const SweepOptions& options) {
  Problem problem = base;
  problem.expansion = expansion;
  problem.pass = pass;
  if (pass == Pass::kStep) {
    problem.seq_len = 1;
    problem.initial_state = true;
  }
  if (series == SweepSeries::kNaive) return as_naive(problem);
  if (series == SweepSeries::kSubheads) {
    problem.series = Series::kComparison;
  } else if (options.form) {
    problem.form = *options.form;
  }
  return problem;
}

namespace {

void measure_cells(const std::vector<std::shared_ptr<Device>>& devices, const SweepOptions& options,
                   const Watch& watch, SweepResult& result) {
  std::vector<std::string> lost(devices.size());
  for (Pass pass : options.passes) {
    for (std::int64_t expansion : options.expansions) {
      Oracles oracles(options.timeline);
      for (std::size_t d = 0; d < devices.size(); ++d) {
        BenchOptions bench;
        bench.seconds = options.seconds_per_cell;
        bench.min_runs = options.min_runs;
        bench.min_slow_runs = options.min_slow_runs;
        bench.timeline = options.timeline;
        if (!devices[d]->info().hardware) bench.rotate_bytes /= 8;  // host caches are tens of megabytes
        for (SweepSeries series : options.series) {
          if (!has_series(devices[d]->info(), series)) continue;
          watch.check();
          watch.say(devices[d]->info().name + " " + std::string(name(pass)) + " E " +
                    std::to_string(expansion) + " " + std::string(name(series)));
          SweepRow row{
              d,  series, expansion, cell_problem(result.devices[d].base, series, expansion, pass, options),
              {}, {},     {}};
          if (!lost[d].empty()) {
            row.status = SweepStatus::kFailed;
            row.reason = "not run: " + lost[d];
          } else {
            row = run_cell(*devices[d], std::move(row), oracles, bench, watch);
            if (row.status == SweepStatus::kFailed && row.reason != kOutOfMemory) lost[d] = row.reason;
          }
          result.rows.push_back(std::move(row));
        }
      }
    }
  }
}

}  // namespace

SweepResult sweep(const std::vector<std::shared_ptr<Device>>& devices, const SweepOptions& options,
                  const Watch& watch) {
  const auto start = std::chrono::steady_clock::now();
  SweepResult result;
  for (const auto& device : devices) {
    watch.check();
    watch.say(device->info().name + ": measuring its ceilings");
    device->trace(options.timeline != nullptr);
    SweepDevice entry{device->info(), {}, base_problem(device->info(), options)};
    for (std::int64_t expansion : options.expansions) {
      for (Pass pass : options.passes) {  // wrong sizes are the user's error, not a refusal
        check(cell_problem(entry.base, SweepSeries::kProduction, expansion, pass, options));
      }
    }
    entry.ceilings = ceilings_of(*device);
    result.devices.push_back(std::move(entry));
  }
  try {
    measure_cells(devices, options, watch, result);
  } catch (const Cancelled&) {
    if (result.rows.empty()) throw;
  }
  std::stable_sort(result.rows.begin(), result.rows.end(), [](const SweepRow& a, const SweepRow& b) {
    return std::tuple(a.device, a.problem.pass, a.series, a.expansion) <
           std::tuple(b.device, b.problem.pass, b.series, b.expansion);
  });
  result.wall_seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

int exit_code(const SweepResult& result) {
  const auto any = [&](SweepStatus status) {
    return std::any_of(result.rows.begin(), result.rows.end(),
                       [&](const SweepRow& r) { return r.status == status; });
  };
  if (any(SweepStatus::kFailed)) return 4;
  return any(SweepStatus::kWrong) ? 1 : 0;
}

}  // namespace statescope
