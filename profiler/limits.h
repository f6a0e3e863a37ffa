// How far each division goes on a device before its state no longer fits shared memory: the paper's argument
// (section 4.2), decided by our comparison kernels. Needs no device: the kernel table answers for any limits.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <statescope/problem.h>
#include <statescope/variants.h>

#include "profiler/device_db.h"

namespace statescope {

/// One division at one expansion on one device.
struct LimitCell {
  Division division = Division::kSubheads;
  std::int64_t expansion = 1;
  Geometry geometry;  ///< of the comparison kernel; state_bytes and tile_bytes are its own
  bool fits = false;
  Occupancy occupancy;  ///< when it fits and the figures are known
  std::string refusal;  ///< the dispatcher's reason when it does not fit
};

struct DeviceLimitsRow {
  DatabaseDevice device;
  std::vector<LimitCell> cells;    ///< naive and subheads at each expansion
  std::int64_t largest_naive = 0;  ///< the largest E whose naive kernel fits; 0 when not even E = 1 does
  bool subheads_fit = false;       ///< a subhead's memory does not depend on E: it fits at any, or at none
};

/// `shape` gives rule, type, K, V and heads; expansion, division and series are set here.
std::vector<DeviceLimitsRow> compute_limits(const Problem& shape, const std::vector<DatabaseDevice>& devices,
                                            const std::vector<std::int64_t>& expansions);

/// The comparison kernel of the division that an api has for this problem, whether or not it fits: for the
/// lines of shared memory against E. Nothing when the table has no such kernel.
std::optional<Geometry> comparison_geometry(const Problem& shape, Division division, std::int64_t expansion,
                                            const DeviceLimits& limits);

/// The problem that a division's comparison kernel runs at expansion E.
Problem comparison_problem(const Problem& shape, Division division, std::int64_t expansion);

}  // namespace statescope
