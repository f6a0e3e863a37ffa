#include "profiler/roofline.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include <statescope/cost.h>

#include "profiler/bench.h"

namespace statescope {
namespace {

double median_seconds(const CaptureEntry& entry) {
  std::vector<double> totals;
  for (const RunTime& run : entry.runs) totals.push_back(run.total);
  return spread_of(totals).median;
}

/// A logarithmic axis of whole decades.
struct Axis {
  double low, high;  // log10
  int cells;
  int cell(double x) const {
    return static_cast<int>(std::lround((std::log10(x) - low) / (high - low) * (cells - 1)));
  }
  double value(int cell) const { return std::pow(10, low + (high - low) * cell / (cells - 1)); }
};

Axis axis_over(double smallest, double largest, int cells) {
  const double low = std::floor(std::log10(smallest)), high = std::ceil(std::log10(largest));
  return {low, high > low ? high : low + 1, cells};
}

}  // namespace

char roofline_mark(std::size_t index) {
  constexpr std::string_view kMarks = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
  return index < kMarks.size() ? kMarks[index] : '*';
}

ComputeRoof compute_roof(const Problem& problem, const Ceilings& ceilings) {
  const bool matrix = problem.form == Form::kChunked && size_of(problem.dtype) == 2;
  if (matrix && ceilings.matrix_flop_per_second > 0) return {"matrix", ceilings.matrix_flop_per_second};
  return {"f32", ceilings.f32_flop_per_second};
}

std::vector<RooflinePoint> roofline(const Capture& capture) {
  std::vector<RooflinePoint> points;
  for (const CaptureEntry& entry : capture.entries) {
    if (entry.status != SweepStatus::kMeasured) continue;
    const Ceilings& ceilings = capture.devices[entry.device].ceilings;
    const double seconds = median_seconds(entry);
    if (!(seconds > 0)) continue;  // a clock too coarse to see the run
    const double work = flop(entry.problem, entry.problem.form), bytes = minimum_bytes(entry.problem);
    const ComputeRoof roof = compute_roof(entry.problem, ceilings);
    RooflinePoint point;
    point.device = entry.device;
    point.series = entry.series;
    point.expansion = entry.expansion;
    point.problem = entry.problem;
    point.kernel = entry.kernel;
    point.intensity = work / bytes;
    point.flop_per_second = work / seconds;
    point.bytes_per_second = bytes / seconds;
    point.compute_roof = roof.name;
    const double memory = point.intensity * ceilings.copy_bytes_per_second;
    point.ceiling = std::min(memory, roof.flop_per_second);
    point.bound = memory < roof.flop_per_second ? "memory" : "compute";
    points.push_back(std::move(point));
  }
  return points;
}

std::string draw_roofline(const Capture& capture, const std::vector<RooflinePoint>& all, std::size_t device,
                          int width, int height) {
  std::vector<RooflinePoint> points;
  for (const RooflinePoint& point : all) {
    if (point.device == device) points.push_back(point);
  }
  const Ceilings& ceilings = capture.devices[device].ceilings;
  const double roof = std::max(ceilings.f32_flop_per_second, ceilings.matrix_flop_per_second);
  if (points.empty() || !(roof > 0) || !(ceilings.copy_bytes_per_second > 0)) return "";
  const double ridge = roof / ceilings.copy_bytes_per_second;
  double least_x = ridge / 10, most_x = ridge * 10, least_y = roof / 100;
  for (const RooflinePoint& point : points) {
    least_x = std::min(least_x, point.intensity);
    most_x = std::max(most_x, point.intensity);
    least_y = std::min(least_y, point.flop_per_second);
  }
  const Axis x = axis_over(least_x, most_x, width), y = axis_over(least_y, roof, height);

  std::vector<std::string> rows(static_cast<std::size_t>(height),
                                std::string(static_cast<std::size_t>(width), ' '));
  const auto put = [&](int column, int row, char c) {
    if (column < 0 || column >= width || row < 0 || row >= height) return;
    rows[static_cast<std::size_t>(height - 1 - row)][static_cast<std::size_t>(column)] = c;
  };
  for (const double ceiling : {ceilings.f32_flop_per_second, ceilings.matrix_flop_per_second}) {
    if (!(ceiling > 0)) continue;
    for (int column = 0; column < width; ++column) {
      const double memory = x.value(column) * ceilings.copy_bytes_per_second;
      put(column, y.cell(std::min(memory, ceiling)), memory < ceiling ? '/' : '-');
    }
  }
  for (std::size_t i = 0; i < points.size(); ++i)
    put(x.cell(points[i].intensity), y.cell(points[i].flop_per_second), roofline_mark(i));

  std::string text;
  char label[48];
  for (int row = height - 1; row >= 0; --row) {
    const bool labelled = row == height - 1 || row == 0;
    if (labelled) {
      std::snprintf(label, sizeof label, "%8.0e |", y.value(row));
    } else {
      std::snprintf(label, sizeof label, "%8s |", "");
    }
    text += label + rows[static_cast<std::size_t>(height - 1 - row)] + "\n";
  }
  text += "  flop/s +" + std::string(static_cast<std::size_t>(width), '-') + "\n";
  char left[16], right[16];
  std::snprintf(left, sizeof left, "%.0e", x.value(0));
  std::snprintf(right, sizeof right, "%.0e", x.value(width - 1));
  const std::string middle = "flop a byte that must move";
  const int gap = width - static_cast<int>(std::string_view(left).size() + std::string_view(right).size());
  const int before = std::max(1, (gap - static_cast<int>(middle.size())) / 2);
  const int after = std::max(1, gap - before - static_cast<int>(middle.size()));
  text += std::string(10, ' ') + left + std::string(static_cast<std::size_t>(before), ' ') + middle +
          std::string(static_cast<std::size_t>(after), ' ') + right + "\n";
  return text;
}

}  // namespace statescope
