// Charts on Dear ImGui: lines, bars, histograms, heatmaps, spans of time and limit lines, with linear and log
// axes, a legend that hides and shows, a read-out under the mouse, zoom (wheel), pan (drag) and reset (double
// click), and the data as CSV (right click). The calls read like ImPlot's:
//
//   if (plot::begin("speed", size)) {
//     plot::setup_axis(Axis::kX, "expansion E", "", Scale::kLog2, Range{1, 32});
//     plot::setup_axis(Axis::kY, "throughput", "tokens/s", Scale::kLog10);
//     plot::line("subheads", es, rates, {.color = blue, .marker = Marker::kCircle});
//     plot::end();
//   }
//
// begin() returns false when there is nothing to draw to (clipped); then end() is not called. Spans must stay
// valid until end().
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <imgui.h>

#include "app/gui/axis.h"

namespace statescope::plot {

enum class Axis { kX, kY };
enum class Marker { kNone, kCircle, kSquare, kTriangle, kDiamond, kCross };

/// Colours and font of every chart, set once a frame by the theme.
struct Style {
  ImU32 text = IM_COL32_WHITE, dim = IM_COL32_WHITE, grid = IM_COL32_WHITE, background = IM_COL32_BLACK;
  ImFont* font = nullptr;  ///< of ticks, labels and legend
  float font_size = 13;
  float unit = 1;  ///< pixels of a device-independent pixel
};
void set_style(const Style& style);

struct LineStyle {
  ImU32 color = IM_COL32_WHITE;
  float width = 2;
  Marker marker = Marker::kNone;
  float marker_size = 3.5f;
  bool hollow = false;  ///< marker's outline only: published, not measured here
  bool dashed = false;  ///< theory, not measured
};
struct BarStyle {
  ImU32 color = IM_COL32_WHITE;
  double width = 0.8;         ///< in units of the x axis
  bool hatched = false;       ///< drawn as an outline with hatching: does not fit, or predicted
  std::string value_label{};  ///< above the bar
  std::string note{};         ///< last line of the read-out
};
/// From `begin` to `end` on the x axis, in a row of height 1.
struct SpanMark {
  double begin = 0, end = 0;
  ImU32 color = IM_COL32_WHITE;
  std::string_view name;  ///< written into it where it fits
};
/// Three colours: of lo, of the middle, of hi.
struct ColorMap {
  ImU32 lo, middle, hi;
};

/// Opens a chart of `size` pixels; `id` names it in exports and in layout(), so it is unique in the app.
/// Without `legend` the caller draws one that serves several charts.
bool begin(const char* id, ImVec2 size, bool legend = true);
/// `range` absent: fitted to the data. The label stands with its unit: "throughput (tokens/s)". Before any
/// item.
void setup_axis(Axis axis, const char* label, const char* unit, Scale scale = Scale::kLinear,
                std::optional<Range> range = {});
/// Ticks of one's own, e.g. categories.
void setup_ticks(Axis axis, std::vector<Tick> ticks);
/// How tick labels are written, given the step from one to the next.
void setup_format(Axis axis, std::function<std::string(double value, double step)> format);
/// The mouse neither zooms nor pans this axis.
void lock_axis(Axis axis);

/// NaN breaks the line. On a log axis values <= 0 are left out.
void line(const char* label, std::span<const double> xs, std::span<const double> ys, const LineStyle& style);
/// One bar; several under one label share a legend entry. A bar taller than the axis ends in a torn edge.
void bar(const char* label, double x, double height, const BarStyle& style);
/// `counts` in equal bins over [lo, hi].
void histogram(const char* label, Range bins, std::span<const double> counts, ImU32 color);
/// Row-major, row 0 on top, over the whole plot area; any number of cells (vertex offsets carry it past
/// 16-bit indices).
void heatmap(const char* label, std::span<const double> values, std::size_t rows, std::size_t columns,
             Range range, const ColorMap& colors);
/// One row of spans from y = `row` to `row` + 1, in the order of their begin; none reaches into the next.
/// `note` gives the read-out of one.
void spans(const char* label, double row, std::span<const SpanMark> marks,
           std::function<std::string(std::size_t)> note);
/// A line across the plot at a value of the axis, with its label on it.
void limit_line(const char* label, Axis axis, double value, ImU32 color);
/// A cross on the lower edge of the plot at x, for a point that could not be had; hovering says why.
void missing_point(const char* label, double x, const std::string& reason, ImU32 color);

/// One line in the middle of a chart that has nothing to show yet.
void message(const std::string& line);

void end();

/// Where a chart lay in the last frame: for tests and for exports.
struct Layout {
  ImVec2 min, max;              ///< of the plot area, pixels
  ImVec2 outer_min, outer_max;  ///< with labels
  Scale x_scale = Scale::kLinear, y_scale = Scale::kLinear;
  Range x, y;
  std::vector<std::string> legend;
  std::string csv;  ///< filled only where capture_csv() is on
  ImVec2 pixel(double x_value, double y_value) const;
};
/// Nothing for a chart that has not been drawn since begin_frame().
const Layout* layout(std::string_view id);
/// The charts that have been drawn since begin_frame(), by their names.
std::vector<std::string> charts();
void begin_frame();
/// Keeps every chart's data as CSV in its layout (exports of all charts, tests).
void capture_csv(bool on);

/// The mark that was clicked in the last frame that drew the chart: its item's label, and which of the item's
/// points or spans.
struct Click {
  std::string label;
  std::size_t index = 0;
};
std::optional<Click> clicked(std::string_view id);
/// Forgets how a chart was zoomed: its data are others now.
void reset_zoom(std::string_view id);

/// What the user asked of a chart through its menu.
struct ExportRequest {
  std::string id, csv;
  bool picture = false;  ///< else the data
  ImVec2 min, max;
};
/// The requests since the last call.
std::vector<ExportRequest> take_exports();

/// Linear in sRGB between the three colours of a map; `unit` is clamped to [0, 1], NaN gives the middle.
ImU32 blend(const ColorMap& map, double unit);

}  // namespace statescope::plot
