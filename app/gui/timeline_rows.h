// A timeline as rows of boxes: each lane takes as many rows as its spans are deep.
#pragma once

#include <string>
#include <vector>

#include "profiler/timeline.h"

namespace statescope::gui {

struct TimelineRow {
  std::size_t lane = 0;            ///< index into TimelineSnapshot::lanes
  std::vector<std::size_t> spans;  ///< indices into TimelineSnapshot::spans, none reaching into the next
};

struct TimelineRows {
  std::vector<TimelineRow> rows;  ///< lanes in their order, each from the outermost span inwards
  double seconds = 0;             ///< end of the last span
};

/// Every span goes to the first row of its lane that is free: a span lies under the one that holds it.
TimelineRows timeline_rows(const TimelineSnapshot& timeline);

/// Name, begin, duration, then its arguments, a line each.
std::string describe_span(const Span& span, const Lane& lane);

}  // namespace statescope::gui
