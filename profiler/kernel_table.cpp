#include "profiler/kernel_table.h"

#include <algorithm>
#include <numeric>

#include <statescope/cost.h>

#include "profiler/roofline.h"

namespace statescope {
namespace {

KernelRow row_of(std::size_t entry, std::string kernel, std::vector<double> sample, std::size_t bins) {
  KernelRow row;
  row.entry = entry;
  row.kernel = std::move(kernel);
  row.calls = sample.size();
  row.total = std::accumulate(sample.begin(), sample.end(), 0.0);
  row.seconds = spread_of(sample);
  row.histogram = histogram_of(sample, bins);
  row.sample = sample;
  std::ranges::sort(sample);
  row.p95 = quantile(sample, 0.95);
  return row;
}

void add_rates(KernelRow& row, const Problem& problem, const Ceilings& ceilings) {
  if (!(row.seconds.median > 0)) return;  // a clock too coarse to see the run
  row.flop_per_second = flop(problem, problem.form) / row.seconds.median;
  row.bytes_per_second = minimum_bytes(problem) / row.seconds.median;
  const double roof = compute_roof(problem, ceilings).flop_per_second;
  if (roof > 0) row.share_of_compute = *row.flop_per_second / roof;
  if (ceilings.copy_bytes_per_second > 0)
    row.share_of_copy = *row.bytes_per_second / ceilings.copy_bytes_per_second;
}

/// The run as a whole, then each of its launches when it has several.
std::vector<KernelRow> rows_of(const CaptureEntry& entry, std::size_t index, const Ceilings& ceilings,
                               std::size_t bins) {
  std::vector<KernelRow> rows;
  std::vector<double> totals;
  for (const RunTime& run : entry.runs) totals.push_back(run.total);
  rows.push_back(row_of(index, entry.kernel, std::move(totals), bins));
  add_rates(rows.front(), entry.problem, ceilings);
  if (entry.launches.size() < 2) return rows;
  rows.front().whole_run = true;
  for (std::size_t launch = 0; launch < entry.launches.size(); ++launch) {
    std::vector<double> sample;
    for (const RunTime& run : entry.runs) sample.push_back(run.launches[launch]);
    rows.push_back(row_of(index, entry.launches[launch].kernel, std::move(sample), bins));
  }
  return rows;
}

}  // namespace

std::vector<KernelRow> kernel_table(const Capture& capture, std::size_t bins) {
  std::vector<KernelRow> table;
  for (std::size_t device = 0; device < capture.devices.size(); ++device) {
    std::vector<std::vector<KernelRow>> groups;
    double all = 0;
    for (std::size_t i = 0; i < capture.entries.size(); ++i) {
      const CaptureEntry& entry = capture.entries[i];
      if (entry.device != device || entry.runs.empty()) continue;
      groups.push_back(rows_of(entry, i, capture.devices[device].ceilings, bins));
      all += groups.back().front().total;
    }
    std::ranges::stable_sort(groups, [](const auto& a, const auto& b) { return a[0].total > b[0].total; });
    for (std::vector<KernelRow>& group : groups) {
      for (KernelRow& row : group) {
        if (all > 0) row.share = row.total / all;
        table.push_back(std::move(row));
      }
    }
  }
  return table;
}

}  // namespace statescope
