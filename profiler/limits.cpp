#include "profiler/limits.h"

#include <statescope/error.h>

namespace statescope {
namespace {

LimitCell compute_cell(const Problem& shape, Division division, std::int64_t expansion,
                       const DatabaseDevice& device) {
  LimitCell cell;
  cell.division = division;
  cell.expansion = expansion;
  const Problem problem = comparison_problem(shape, division, expansion);
  if (auto geometry = comparison_geometry(shape, division, expansion, device.limits))
    cell.geometry = *geometry;
  try {
    cell.geometry = choose_variant(problem, device.limits, device.label()).geometry;
    cell.fits = true;
    cell.occupancy = predict_occupancy(cell.geometry, device.limits);
  } catch (const Error& e) {
    if (e.kind() != ErrorKind::kRefused && e.kind() != ErrorKind::kUsage) throw;
    cell.refusal = e.what();
  }
  return cell;
}

/// The largest E in 1, 2, 3 ... whose naive kernel fits: its state grows with E, so the first that does not
/// ends it.
std::int64_t largest_naive(const Problem& shape, const DatabaseDevice& device) {
  std::int64_t largest = 0;
  while (compute_cell(shape, Division::kNaive, largest + 1, device).fits) ++largest;
  return largest;
}

}  // namespace

Problem comparison_problem(const Problem& shape, Division division, std::int64_t expansion) {
  Problem problem = shape;
  problem.series = Series::kComparison;
  problem.form = Form::kAuto;
  problem.division = Division::kSubheads;
  problem.expansion = expansion;
  return division == Division::kNaive ? as_naive(problem) : problem;
}

std::optional<Geometry> comparison_geometry(const Problem& shape, Division division, std::int64_t expansion,
                                            const DeviceLimits& limits) {
  const Problem problem = comparison_problem(shape, division, expansion);
  for (const Variant& variant : variants()) {
    if (variant.api == limits.api && variant.series == Series::kComparison &&
        has(variant.rules, problem.rule) && has(variant.passes, problem.pass) &&
        has(variant.dtypes, problem.dtype) && variant.key_dim.contains(problem.key_dim) &&
        variant.value_dim.contains(problem.value_dim)) {
      return variant.geometry(problem, limits);
    }
  }
  return std::nullopt;
}

std::vector<DeviceLimitsRow> compute_limits(const Problem& shape, const std::vector<DatabaseDevice>& devices,
                                            const std::vector<std::int64_t>& expansions) {
  check(comparison_problem(shape, Division::kSubheads, 1));
  std::vector<DeviceLimitsRow> rows;
  for (const DatabaseDevice& device : devices) {
    DeviceLimitsRow row{
        device, {}, largest_naive(shape, device), compute_cell(shape, Division::kSubheads, 1, device).fits};
    for (const Division division : {Division::kNaive, Division::kSubheads}) {
      for (const std::int64_t expansion : expansions) {
        row.cells.push_back(compute_cell(shape, division, expansion, device));
      }
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace statescope
