#include "app/gui/timeline_rows.h"

#include <algorithm>

#include "app/gui/axis.h"
#include "app/gui/quantity.h"

namespace statescope::gui {

TimelineRows timeline_rows(const TimelineSnapshot& timeline) {
  struct Open {
    TimelineRow row;
    std::int64_t end_ns;
  };
  std::vector<std::vector<Open>> lanes(timeline.lanes.size());
  TimelineRows result;
  for (std::size_t i = 0; i < timeline.spans.size(); ++i) {
    const Span& span = timeline.spans[i];
    auto& rows = lanes[span.lane];
    auto free =
        std::find_if(rows.begin(), rows.end(), [&](const Open& row) { return row.end_ns <= span.begin_ns; });
    if (free == rows.end()) free = rows.insert(rows.end(), Open{{span.lane, {}}, 0});
    free->row.spans.push_back(i);
    free->end_ns = span.end_ns;
    result.seconds = std::max(result.seconds, static_cast<double>(span.end_ns) * 1e-9);
  }
  for (auto& rows : lanes) {
    for (Open& open : rows) result.rows.push_back(std::move(open.row));
  }
  return result;
}

std::string describe_span(const Span& span, const Lane& lane) {
  const auto seconds = [](std::int64_t ns) { return static_cast<double>(ns) * 1e-9; };
  std::string text = span.info->name + "\n" + duration(seconds(span.end_ns - span.begin_ns)) + " from " +
                     duration(seconds(span.begin_ns)) + "\n" + lane.name + ", clock: " + lane.clock;
  std::string line;
  for (const SpanArgument& argument : span.info->arguments) {
    const double* number = std::get_if<double>(&argument.value);
    const std::string word =
        argument.name + " " + (number ? plot::format_value(*number) : std::get<std::string>(argument.value));
    // A few to a line: a tooltip of twenty lines hides what it explains.
    if (line.size() + word.size() > 46) {
      text += "\n" + line;
      line.clear();
    }
    line += (line.empty() ? "" : ", ") + word;
  }
  return line.empty() ? text : text + "\n" + line;
}

}  // namespace statescope::gui
