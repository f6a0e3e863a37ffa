#include "profiler/bench.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include <statescope/cost.h>
#include <statescope/error.h>

#include "profiler/statistics.h"

namespace statescope {
namespace {

int input_sets(const Problem& problem, const BenchOptions& options) {
  const double sets = std::ceil(options.rotate_bytes / minimum_bytes(problem));
  return static_cast<int>(std::clamp(sets, 1.0, static_cast<double>(options.max_input_sets)));
}

std::vector<RunTime> time_for(Execution& execution, const DeviceInfo& device, const BenchOptions& options,
                              const Watch& watch) {
  const HostSpan span(options.timeline, "time");
  // The run that was verified paid for first touches; the last of these says how many fit.
  const auto start = std::chrono::steady_clock::now();
  const auto elapsed = [&] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  std::vector<RunTime> times = execution.time(1);
  while (device.hardware && elapsed() < options.warm_up) {
    watch.check();
    times = execution.time(1);
  }
  const double once = std::max(times.front().total, 1e-7);
  const bool slow = once > options.seconds;
  if (!slow) times.clear();  // it was the warm-up; one that takes all the time there is counts
  const int runs =
      slow ? options.min_slow_runs
           : std::clamp(static_cast<int>(options.seconds / once), options.min_runs, options.max_runs);
  if (slow && options.timeline)
    record_runs(*options.timeline, device, execution.plan(), times, host_now_ns());
  const int batch = std::max(1, std::min(runs, static_cast<int>(0.2 / once)));  // so that Ctrl-C is heard
  while (static_cast<int>(times.size()) < runs) {
    watch.check();
    const auto more = execution.time(std::min(batch, runs - static_cast<int>(times.size())));
    if (options.timeline) record_runs(*options.timeline, device, execution.plan(), more, host_now_ns());
    times.insert(times.end(), more.begin(), more.end());
  }
  return times;
}

}  // namespace

Spread spread_of(std::vector<double> sample) {
  Spread spread;
  spread.count = static_cast<int>(sample.size());
  if (sample.empty()) return spread;
  std::sort(sample.begin(), sample.end());
  spread.min = sample.front();
  spread.p10 = quantile(sample, 0.1);
  spread.median = quantile(sample, 0.5);
  spread.p90 = quantile(sample, 0.9);
  spread.max = sample.back();
  return spread;
}

Measurement measure(Device& device, const Problem& problem, const Oracle& oracle, const BenchOptions& options,
                    const Watch& watch) {
  if (!same_mathematics(problem, oracle.problem)) {
    throw Error(ErrorKind::kUsage,
                "measure: the oracle is of " + describe(oracle.problem) + ", wanted " + describe(problem));
  }
  Measurement m;
  m.plan = device.plan(problem);
  m.input_sets = input_sets(problem, options);
  m.checked_whole = oracle.samples.empty();
  std::unique_ptr<Execution> execution;
  {
    const HostSpan span(options.timeline, "prepare");
    execution = device.prepare(m.plan, m.input_sets);
    m.plan = execution->plan();
  }
  {
    const HostSpan span(options.timeline, "upload");
    execution->upload(oracle.inputs);
  }
  {
    const HostSpan span(options.timeline, "check");
    execution->poison();
    execution->run();
    m.errors = check_outputs(oracle, m.plan.problem, execution->download());
  }
  m.verified = std::all_of(m.errors.begin(), m.errors.end(), [](const OutputError& e) { return e.ok(); });
  if (!m.verified) return m;
  watch.check();

  m.runs = time_for(*execution, device.info(), options, watch);
  std::vector<double> totals;
  for (const RunTime& time : m.runs) totals.push_back(time.total);
  m.seconds = spread_of(totals);
  for (std::size_t launch = 0; launch < m.plan.launches.size(); ++launch) {
    std::vector<double> sample;
    for (const RunTime& time : m.runs) {
      if (launch < time.launches.size()) sample.push_back(time.launches[launch]);
    }
    m.launches.push_back(spread_of(sample));
  }
  m.tokens_per_second = static_cast<double>(problem.batch * problem.seq_len) / m.seconds.median;
  m.flop_per_second = flop(m.plan.problem, m.plan.problem.form) / m.seconds.median;
  m.bytes_per_second = minimum_bytes(problem) / m.seconds.median;
  return m;
}

Problem default_problem(const DeviceInfo& info) {
  Problem problem;
  problem.rule = Rule::kGatedDelta;
  if (info.hardware) {
    problem.dtype = DType::kBf16;
    problem.batch = 4;
    problem.seq_len = 4096;
    problem.heads = 8;
    problem.key_dim = problem.value_dim = 128;
  } else {
    problem.batch = 1;
    problem.seq_len = 256;
    problem.heads = 2;
    problem.key_dim = problem.value_dim = 64;
  }
  problem.qk_heads = problem.heads;
  problem.sequences = problem.batch;
  problem.scale = default_scale(problem.key_dim);
  return problem;
}

bool same_mathematics(const Problem& a, const Problem& b) {
  Problem x = a, y = b;
  // Long keys of the naive division are the same problem as E = 1 keys of that length.
  for (Problem* p : {&x, &y}) {
    p->form = Form::kAuto;
    p->series = Series::kProduction;
    p->division = Division::kNaive;
  }
  return x == y;
}

}  // namespace statescope
