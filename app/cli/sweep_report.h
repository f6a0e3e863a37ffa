// What the report draws beside the sweep itself: dilution, parameters, limits.
#pragma once

#include <vector>

#include <statescope/device.h>

#include "profiler/report.h"
#include "profiler/watch.h"

namespace statescope::cli {

/// Measures dilution, with recall on `device`, and counts parameters at each expansion.
ReportInputs report_inputs(const SweepResult& sweep, Device& device,
                           const std::vector<std::int64_t>& expansions, const Watch& watch);

}  // namespace statescope::cli
